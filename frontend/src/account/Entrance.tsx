import { useState } from "react";
import { Field, Form, Problem, useWork } from "../ui/Form";
import { accounts } from "./api";
import { Door } from "./Door";
import { ProviderButtons, signInWords } from "./Providers";
import { forgetSecrets, takeSecret } from "./secrets";
import type { AuthState } from "../protocol";

const PASSWORD_HINT = "At least 10 characters. A few words that belong together only for you are good.";

/** Sign in; or, as the server allows, make an account; or set a new password from an administrator's link. */
export function Entrance({ state, onIn }: { state: AuthState; onIn: () => void }) {
  const [reset, setReset] = useState(() => takeSecret("reset"));
  const [invite] = useState(() => takeSecret("invite"));
  const [registering, setRegistering] = useState(invite !== null || state.registration === "first");
  if (reset !== null) {
    return (
      <NewPassword
        token={reset}
        onDone={() => {
          forgetSecrets();
          setReset(null);
          onIn();
        }}
      />
    );
  }
  const allowed = state.registration === "first" || state.registration === "open" || invite !== null;
  return registering && allowed ? (
    <Register
      state={state}
      invite={invite}
      onIn={() => {
        forgetSecrets();
        onIn();
      }}
      onBack={() => setRegistering(false)}
    />
  ) : (
    <SignIn state={state} onIn={onIn} onRegister={allowed ? () => setRegistering(true) : null} />
  );
}

function SignIn({ state, onIn, onRegister }: { state: AuthState; onIn: () => void; onRegister: (() => void) | null }) {
  const work = useWork();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [failed] = useState(signInWords);
  return (
    <Door title="Sign in">
      <Problem words={failed} />
      <Form work={work} submit="Sign in" onSubmit={() => accounts.signIn(email, password).then(onIn)} beside={onRegister && <Other words="Make an account" onClick={onRegister} />}>
        <Field label="Email" type="email" autoComplete="username" required autoFocus value={email} onChange={setEmail} />
        <Field label="Password" type="password" autoComplete="current-password" required value={password} onChange={setPassword} />
      </Form>
      <ProviderButtons providers={state.oidc} invite={null} />
      <p className="aside">Forgot your password? An administrator of this server can give you a link to set a new one.</p>
    </Door>
  );
}

interface RegisterProps {
  state: AuthState;
  invite: string | null;
  onIn: () => void;
  onBack: () => void;
}

function Register({ state, invite, onIn, onBack }: RegisterProps) {
  const first = state.registration === "first";
  const work = useWork();
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const make = () => accounts.register(email, name, password, invite).then(onIn);
  return (
    <Door title={first ? "The first account" : "Make an account"}>
      {first && <p className="aside">Nobody has an account on this server yet. The first one is its administrator’s.</p>}
      <Form work={work} submit="Make the account" onSubmit={make} beside={!first && <Other words="Sign in instead" onClick={onBack} />}>
        <Field label="Name" autoComplete="name" required autoFocus value={name} onChange={setName} />
        <Field label="Email" type="email" autoComplete="username" required value={email} onChange={setEmail} />
        <Field label="Password" type="password" autoComplete="new-password" required minLength={10} hint={PASSWORD_HINT} value={password} onChange={setPassword} />
      </Form>
      <ProviderButtons providers={state.oidc} invite={invite} />
    </Door>
  );
}

function NewPassword({ token, onDone }: { token: string; onDone: () => void }) {
  const work = useWork();
  const [password, setPassword] = useState("");
  return (
    <Door title="Set a new password">
      <Form work={work} submit="Set the password" onSubmit={() => accounts.reset(token, password).then(onDone)}>
        <Field label="New password" type="password" autoComplete="new-password" required autoFocus minLength={10} hint={PASSWORD_HINT} value={password} onChange={setPassword} />
      </Form>
      <p className="aside">Wherever you were signed in with the old one, you are signed out.</p>
    </Door>
  );
}

function Other({ words, onClick }: { words: string; onClick: () => void }) {
  return (
    <button type="button" className="more" onClick={onClick}>
      {words}
    </button>
  );
}
