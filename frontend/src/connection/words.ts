import type { Status } from "./connection";

const LOST = "Reconnecting… What runs goes on at the server; this page catches up as soon as it is back.";
const LATE = "Reconnecting… The server cannot tell this page what happens just now. What runs goes on; the page catches up by itself.";

/** What is wrong with the connection, for people; `again`: trying at once may help. Nothing is said of a first connection. */
export function trouble(status: Status): { words: string; again: boolean } | null {
  if (status.state === "stopped") return { words: status.words, again: false };
  if (status.state === "open") return status.late ? { words: LATE, again: false } : null;
  return status.state === "waiting" || status.attempt > 0 ? { words: LOST, again: true } : null;
}
