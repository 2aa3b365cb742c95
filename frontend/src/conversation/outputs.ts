import type { Output, OutputOp } from "../protocol";
import { never } from "../protocol";
import { append, head, lengthOf } from "./codepoints";

/** The outputs after `ops`. Total: an op that does not fit changes nothing. Twin of `protocol/outputs.py`. */
export function applyOps(outputs: readonly Output[], ops: readonly OutputOp[]): Output[] {
  const result = [...outputs];
  for (const op of ops) applyOp(result, op);
  return result;
}

function applyOp(outputs: Output[], op: OutputOp): void {
  switch (op.op) {
    case "put":
      if (op.index >= 0 && op.index <= outputs.length) outputs[op.index] = op.output;
      return;
    case "write": {
      const item = outputs[op.index];
      if (item?.kind !== "text") return;
      const kept = op.at >= lengthOf(item.text) ? item.text : head(item.text, op.at);
      outputs[op.index] = { ...item, text: append(kept, op.text) };
      return;
    }
    case "wipe":
      outputs.length = 0;
      return;
    default:
      never(op);
  }
}
