import { useState } from "react";
import type { Turn } from "../protocol";
import { lookOfCell, lookOfEnding } from "./words";

/** Tells a screen reader of changes of state, never of words as they stream. */
export function Announcer({ turn }: { turn: Turn | undefined }) {
  const words = turn ? stateOf(turn) : "";
  const state = `${turn?.turn ?? ""} ${words}`;
  // What was so already when the page was opened is no news.
  const [old] = useState(state);
  return (
    <div className="unseen" role="status" aria-live="polite">
      {state === old ? "" : words}
    </div>
  );
}

function stateOf(turn: Turn): string {
  if (turn.state === "closed") return lookOfEnding(turn)?.words ?? "Answer complete";
  if (turn.state === "stopping") return "Stopping";
  const last = turn.items.at(-1);
  if (last?.kind === "cell") return lookOfCell(last).words;
  return turn.state === "waiting" ? "Waiting for the model" : "Answering";
}
