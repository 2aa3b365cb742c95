import { useState } from "react";
import type { OidcProvider, SignInError } from "../protocol";
import { Problem, useWork } from "../ui/Form";
import { Icon } from "../ui/Icon";
import { Section } from "../ui/Sheet";
import { useLoaded } from "../ui/useLoaded";
import { accounts, providerPath } from "./api";
import { forgetSecrets, takeSignInError } from "./secrets";

const WORDS: Record<SignInError, string> = {
  cancelled: "Signing in was cancelled at the provider. Try again, or use your password.",
  expired: "That took too long, or came back to another browser. Try again.",
  failed: "The provider does not answer as it should. Try again later, or tell an administrator: the server’s log has the cause.",
  no_account: "You have no account here, and nobody new is let in. Ask an administrator for an invitation.",
  email_taken: "There is an account with your address already. Sign in with its password; on its page you can connect the provider.",
  connected_elsewhere: "Whom you are at that provider opens another account here. Sign in to that one, or choose somebody else there.",
  disabled: "Your account is locked. Ask an administrator.",
};

/** Why coming back from a provider did not do what it should; empty when nothing was tried. */
export function signInWords(): string {
  const reason = takeSignInError();
  if (reason === null) return "";
  return reason in WORDS ? WORDS[reason as SignInError] : WORDS.failed;
}

/** Ways in through somebody else; `invite` goes along. */
export function ProviderButtons({ providers, invite }: { providers: readonly OidcProvider[]; invite: string | null }) {
  const work = useWork();
  if (providers.length === 0) return null;
  return (
    <div className="row">
      {providers.map(({ id, label }) =>
        invite === null ? (
          <a key={id} className="button" href={providerPath(id)}>
            Continue with {label}
          </a>
        ) : (
          <button key={id} type="button" className="button" disabled={work.busy} onClick={() => work.run(() => accounts.visit(id, { invite, return_to: "/", connect: false }))}>
            Continue with {label}
          </button>
        ),
      )}
      <Problem words={work.words} />
    </div>
  );
}

/** From now on the provider opens this account, too. */
export function ConnectProvider() {
  const { value } = useLoaded(accounts.state);
  const work = useWork();
  const providers = value?.oidc ?? [];
  if (providers.length === 0) return null;
  return (
    <Section title="Other ways to sign in" about="Once connected, signing in there opens this account.">
      <Problem words={work.words} />
      <div className="row">
        {providers.map(({ id, label }) => (
          <button key={id} type="button" className="button" disabled={work.busy} onClick={() => work.run(() => accounts.visit(id, { invite: null, return_to: "/account", connect: true }))}>
            Connect {label}
          </button>
        ))}
      </div>
    </Section>
  );
}

/** For those who are in: why connecting a provider failed, until it is put away. */
export function SignInProblem() {
  const [words, setWords] = useState(signInWords);
  if (!words) return null;
  const away = () => {
    forgetSecrets();
    setWords("");
  };
  return (
    <div className="banner" role="alert">
      <Icon name="warn" />
      <span>{words}</span>
      <button type="button" className="button" onClick={away}>
        Close
      </button>
    </div>
  );
}
