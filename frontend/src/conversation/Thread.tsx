import { useCallback, useState, useSyncExternalStore } from "react";
import { Icon } from "../ui/Icon";
import { Announcer } from "./Announcer";
import { Composer } from "./Composer";
import { Stick } from "./scroll";
import type { Session, Snapshot } from "./session";
import { TurnView, You } from "./TurnView";

/** The conversation: its turns, and the composer below them. */
export function Thread({ session, state, model }: { session: Session; state: Snapshot; model: string }) {
  const { view, pending, skew } = state;
  const [stick] = useState(() => new Stick());
  const { scroller, content, pin } = stick;
  const pinned = useSyncExternalStore(stick.watch, stick.read);
  const open = view.turns.find((turn) => turn.state !== "closed");

  const send = useCallback(
    (text: string) => {
      session.send(text);
      pin();
    },
    [session, pin],
  );
  const goOn = useCallback(() => {
    session.goOn();
    pin();
  }, [session, pin]);
  const stop = useCallback(() => session.stop(), [session]);

  return (
    <>
      <div className="scroll" ref={scroller} tabIndex={-1}>
        <div className="col" ref={content}>
          {view.turns.map((turn, at) => (
            <TurnView key={turn.turn} turn={turn} skew={turn.state === "closed" ? 0 : skew} last={at === view.turns.length - 1 && pending.length === 0} onContinue={goOn} />
          ))}
          {pending.map(({ turn, text }) => (
            <article className="turn" key={turn}>
              {text === null ? <p className="went-on">Going on…</p> : <You text={text} waiting />}
            </article>
          ))}
        </div>
      </div>
      <div className="compose">
        {!pinned && (
          <button type="button" className="pill" onClick={pin}>
            <Icon name="down" />
            {open ? "New output" : "To the end"}
          </button>
        )}
        {state.notice && (
          <p className="notice" role="alert">
            {state.notice}
          </p>
        )}
        <Composer
          key={state.returned}
          conversation={session.id}
          busy={open !== undefined || pending.length > 0}
          stopping={open?.state === "stopping"}
          model={model}
          lastText={view.turns.findLast((turn) => turn.text)?.text ?? ""}
          onSend={send}
          onStop={stop}
        />
      </div>
      <Announcer turn={view.turns.at(-1)} />
    </>
  );
}
