import { memo } from "react";
import type { Cell, Turn } from "../protocol";
import { CopyButton } from "../ui/CopyButton";
import { Elapsed } from "../ui/Elapsed";
import { Icon } from "../ui/Icon";
import { asMarkdown } from "./answer";
import { CellView } from "./CellView";
import { Markdown } from "./markdown/Markdown";
import { counting, lookOfEnding } from "./words";

interface Props {
  turn: Turn;
  skew: number;
  /** The last turn can be continued; earlier ones have been. */
  last: boolean;
  onContinue: () => void;
}

/** What the user said and everything that followed. */
export const TurnView = memo(function TurnView({ turn, skew, last, onContinue }: Props) {
  return (
    <article className="turn" data-state={turn.state} data-outcome={turn.outcome ?? undefined}>
      {turn.text ? <You text={turn.text} /> : <p className="went-on">Went on from there</p>}
      {turn.items.map((item) =>
        item.kind === "cell" ? (
          <CellView key={item.cell} cell={item} skew={skew} />
        ) : (
          <Markdown key={`prose-${item.step}`} text={item.text} done={item.finish !== null} />
        ),
      )}
      <Waiting turn={turn} skew={skew} />
      <Ending turn={turn} last={last} onContinue={onContinue} />
    </article>
  );
});

export function You({ text, waiting = false }: { text: string; waiting?: boolean }) {
  return (
    <div className="you" aria-label="You" role="group">
      {text}
      {waiting && <span className="sending">sending…</span>}
    </div>
  );
}

/** In the place where the next words will appear. */
function Waiting({ turn, skew }: { turn: Turn; skew: number }) {
  if (turn.state === "stopping") return <p className="waiting">Stopping…</p>;
  if (turn.state !== "waiting") return null;
  const since = turn.items.reduce((at, item) => Math.max(at, endOf(item as Cell)), turn.opened_at);
  return (
    <p className="waiting">
      <Icon name="live" />
      {turn.items.length > 0 ? "Reading the result" : "Thinking"} <Elapsed since={since} skew={skew} format={patience} />
    </p>
  );
}

const endOf = ({ kind, started_at, duration_s }: Cell) => (kind === "cell" ? (started_at ?? 0) + (duration_s ?? 0) : 0);

/** Nothing is said about the first seconds. */
const patience = (seconds: number) => (seconds < 3 ? "" : counting(seconds));

function Ending({ turn, last, onContinue }: { turn: Turn; last: boolean; onContinue: () => void }) {
  const look = lookOfEnding(turn);
  if (turn.state !== "closed") return null;
  if (!look) return <Actions turn={turn} />;
  return (
    <div className={`ending ${look.tone}`} role="group" aria-label="How this ended">
      <span className="why">
        <Icon name={look.icon} />
        {look.words}
      </span>
      {last && (
        <button type="button" className="button" onClick={onContinue}>
          Continue
        </button>
      )}
    </div>
  );
}

function Actions({ turn }: { turn: Turn }) {
  return (
    <div className="actions">
      <CopyButton text={() => asMarkdown(turn)} what="answer" />
    </div>
  );
}
