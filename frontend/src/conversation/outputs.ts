import type { Output, OutputOp } from "../protocol";
import { append, head, lengthOf } from "./codepoints";

/** The outputs after `ops`, or null when an op does not fit (something was missed). */
export function applyOps(outputs: readonly Output[], ops: readonly OutputOp[]): Output[] | null {
  const next = [...outputs];
  for (const op of ops) if (!applied(next, op)) return null;
  return next;
}

function applied(outputs: Output[], op: OutputOp): boolean {
  switch (op.op) {
    case "put":
      if (op.index < 0 || op.index > outputs.length) return false;
      outputs[op.index] = op.output;
      return true;
    case "write": {
      const item = outputs[op.index];
      if (item?.kind !== "text") return false;
      const length = lengthOf(item.text);
      if (op.at < 0 || op.at > length) return false;
      const kept = op.at === length ? item.text : head(item.text, op.at);
      outputs[op.index] = { ...item, text: append(kept, op.text) };
      return true;
    }
    case "wipe":
      outputs.length = 0;
      return true;
  }
}
