import { useEffect, useState, useSyncExternalStore } from "react";
import type { ReactNode } from "react";
import type { Connection, Status } from "../connection";
import { KernelState } from "./KernelState";
import { Session } from "./session";
import { Thread } from "./Thread";

interface Props {
  id: string;
  connection: Connection;
  status: Status;
  /** The page's own controls at both ends of the top bar. */
  before: ReactNode;
  after: ReactNode;
}

/** One conversation, followed for as long as it is shown. Its `key` must be its id. */
export function Conversation({ id, connection, status, before, after }: Props) {
  const [session] = useState(() => new Session(id, connection));
  useEffect(() => session.open(), [session]);
  const state = useSyncExternalStore(session.watch, session.read);
  const { phase, title, view } = state;
  useEffect(() => {
    document.title = title ? `${title} · CodeAct Chat` : "CodeAct Chat";
  }, [title]);
  const busy = view.turns.some((turn) => turn.state !== "closed");
  return (
    <main>
      <header className="top">
        {before}
        <h1>{title || "New conversation"}</h1>
        <KernelState kernel={view.kernel} busy={busy} onRestart={() => session.restartKernel()} />
        <span className="r">{after}</span>
      </header>
      {phase.name === "failed" ? (
        <div className="blank" role="alert">
          <p>{phase.words}</p>
          {phase.again ? (
            <button type="button" className="button" onClick={() => session.reload()}>
              Try again
            </button>
          ) : (
            <a className="button" href="/">
              New conversation
            </a>
          )}
        </div>
      ) : phase.name === "loading" && state.pending.length === 0 ? (
        <div className="blank late" role="status">
          Loading…
        </div>
      ) : (
        <Thread session={session} state={state} model={status.state === "open" ? status.model : ""} />
      )}
    </main>
  );
}
