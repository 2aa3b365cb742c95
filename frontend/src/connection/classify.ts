import type { CloseCode } from "../protocol";
import { never } from "../protocol";

/** What to do after a websocket has closed: try again, or stop and tell the user why. */
export type Verdict = { action: "retry"; at_once: boolean } | { action: "stop"; words: string };

const FORBIDDEN = "The server does not know this page. Open the chat at its own address, or reload the page.";
const SIGNED_OUT = "You are signed out here. Reload the page to sign in again; what runs goes on at the server.";
const MISBEHAVED = "The server could not understand this page. Reload it to get the current version.";

const OURS: ReadonlySet<number> = new Set<CloseCode>([1001, 1009, 4400, 4401, 4403, 4408]);

const isOurs = (code: number): code is CloseCode => OURS.has(code);

/** Pure: a close code to a verdict. Codes that are not ours (1006 above all) mean a lost connection. */
export function classify(code: number): Verdict {
  if (!isOurs(code)) return { action: "retry", at_once: false };
  switch (code) {
    case 1001:
      return { action: "retry", at_once: false };
    case 4408:
      return { action: "retry", at_once: true };
    case 4401:
      return { action: "stop", words: SIGNED_OUT };
    case 4403:
      return { action: "stop", words: FORBIDDEN };
    case 1009:
    case 4400:
      return { action: "stop", words: MISBEHAVED };
    default:
      never(code);
      return { action: "retry", at_once: false };
  }
}

const FIRST_S = 1;
const LONGEST_S = 30;

/** Seconds to wait before attempt `attempt` (from 0): doubling from 1 to 30, then spread over its upper half by `random`. */
export function backoff(attempt: number, random: () => number): number {
  const ceiling = Math.min(LONGEST_S, FIRST_S * 2 ** attempt);
  return ceiling * (0.5 + random() / 2);
}
