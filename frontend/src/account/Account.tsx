import { useState } from "react";
import type { ReactNode } from "react";
import { CopyButton } from "../ui/CopyButton";
import { moment } from "../ui/dates";
import { Field, Form, Problem, useWork } from "../ui/Form";
import { Section, Sheet } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { When } from "../ui/When";
import { useLoaded } from "../ui/useLoaded";
import { agentName } from "./agent";
import { accounts } from "./api";
import { ConnectProvider } from "./Providers";
import { Quota } from "./Quota";
import type { MadeToken,  SessionLine,  TokenLine,  User } from "../protocol";

/** Everything about oneself: what is left to use, password, where one is signed in, tokens for programs. */
export function Account({ me, before, after }: { me: User; before: ReactNode; after: ReactNode }) {
  return (
    <Sheet title="Your account" before={before} after={after}>
      <Section title={me.name} about={`${me.email}${me.role === "admin" ? " · administrator" : ""}`}>
        {null}
      </Section>
      <Quota />
      <Password />
      <ConnectProvider />
      <Sessions />
      <Tokens />
    </Sheet>
  );
}

function Password() {
  const work = useWork();
  const [old, setOld] = useState("");
  const [next, setNext] = useState("");
  const [done, setDone] = useState(false);
  const change = () =>
    accounts.changePassword(old, next).then(() => {
      setOld("");
      setNext("");
      setDone(true);
    });
  return (
    <Section title="Password">
      <Form work={work} submit="Change the password" onSubmit={change} beside={<span role="status">{done && !work.words && "Changed. You are signed out everywhere else."}</span>}>
        <Field label="Present password" type="password" autoComplete="current-password" hint="Leave it empty if you have only signed in through a provider until now." value={old} onChange={setOld} />
        <Field label="New password" type="password" autoComplete="new-password" required minLength={10} value={next} onChange={setNext} />
      </Form>
    </Section>
  );
}

function Sessions() {
  const { value, words, again } = useLoaded(accounts.sessions);
  const work = useWork();
  const end = (session: SessionLine) => work.run(() => accounts.endSession(session.id).then(again));
  return (
    <Section title="Where you are signed in">
      <Problem words={work.words || words} />
      {value && (
        <Table
          label="Sessions"
          keyOf={(session) => session.id}
          rows={value.sessions}
          empty="Nowhere."
          columns={[
            { name: "Browser", of: (session) => <span title={session.agent}>{agentName(session.agent) || "unknown"}</span> },
            { name: "Address", of: (session) => session.address },
            { name: "Since", of: (session) => moment(session.created_at) },
            { name: "Last seen", of: (session) => <When at={session.seen_at} /> },
            {
              name: "",
              figure: true,
              of: (session) =>
                session.current ? (
                  "this one"
                ) : (
                  <button type="button" className="button" disabled={work.busy} onClick={() => end(session)}>
                    Sign out
                  </button>
                ),
            },
          ]}
        />
      )}
    </Section>
  );
}

function Tokens() {
  const { value, words, again } = useLoaded(accounts.tokens);
  const work = useWork();
  const [label, setLabel] = useState("");
  const [days, setDays] = useState("90");
  const [made, setMade] = useState<MadeToken | null>(null);
  const make = async () => {
    setMade(await accounts.makeToken(label, ["chat"], days ? Number(days) : null));
    setLabel("");
    await again();
  };
  const drop = (token: TokenLine) => work.run(() => accounts.dropToken(token.id).then(again));
  return (
    <Section title="Tokens for programs" about="With a token, the codeact command and anything that speaks the OpenAI API can chat in your name.">
      {made && <Shown made={made} onDone={() => setMade(null)} />}
      <Form work={work} submit="Make a token" onSubmit={make}>
        <Field label="What is it for?" required maxLength={100} placeholder="My laptop’s terminal" value={label} onChange={setLabel} />
        <Field label="Good for how many days?" type="number" min={1} max={3650} placeholder="for ever" value={days} onChange={setDays} />
      </Form>
      <Problem words={words} />
      {value && (
        <Table
          label="Tokens"
          keyOf={(token) => token.id}
          rows={value.tokens}
          empty="You have none."
          columns={[
            { name: "For", of: (token) => token.label },
            { name: "Begins", of: (token) => <code>{token.begins}…</code> },
            { name: "Good until", of: (token) => (token.expires_at === null ? "it is revoked" : moment(token.expires_at)) },
            { name: "Last used", of: (token) => (token.used_at === null ? "never" : <When at={token.used_at} />) },
            {
              name: "",
              figure: true,
              of: (token) => (
                <button type="button" className="button bad" disabled={work.busy} onClick={() => drop(token)} aria-label={`Revoke the token ${token.label}`}>
                  Revoke
                </button>
              ),
            },
          ]}
        />
      )}
    </Section>
  );
}

/** A new token's text, which is told once. */
function Shown({ made, onDone }: { made: MadeToken; onDone: () => void }) {
  return (
    <div className="told" role="status">
      <p>This is the token. Copy it now: it is not shown again.</p>
      <div className="secret">
        <code>{made.token}</code>
        <CopyButton text={made.token} what="the token" />
      </div>
      <div className="row">
        <button type="button" className="button" onClick={onDone}>
          I have it
        </button>
      </div>
    </div>
  );
}
