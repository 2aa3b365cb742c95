import type { DurableEvent, Event, Output } from "../src/protocol";

interface Beat {
  event: Event;
  /** Milliseconds until the next. */
  wait: number;
}

const PROSE = `I'll simulate it first, then look at the **distribution** of the results.

The mean of $n$ rolls is $\\bar{x} = \\frac{1}{n}\\sum_i x_i$, so I expect about 3.5.`;

const CODE = `# two dice, ten thousand times
import numpy as np, time
rng = np.random.default_rng(7)
rolls = rng.integers(1, 7, size=(10_000, 2)).sum(axis=1)
for step in range(5):
    print(f"batch {step}: mean {rolls[:2000 * (step + 1)].mean():.3f}")
    time.sleep(0.4)`;

const ANSWER = `The mean settles at **7.01**, as it should.

| sum | expected | seen |
|----:|---------:|-----:|
| 2 | 2.8 % | 2.7 % |
| 7 | 16.7 % | 16.9 % |
| 12 | 2.8 % | 2.8 % |

1. The law of large numbers holds after a few thousand rolls.
2. The spread is $\\sigma = \\sqrt{35/6} \\approx 2.42$.`;

const words = (text: string) => text.match(/\S+\s*|\s+/g) ?? [];

/** One whole turn, and the events that close it when it is stopped after `at` beats. */
export function script(turn: string, text: string, seq: number): { events: Beat[]; stopped: (at: number) => DurableEvent[] } {
  const cell = `c-${turn.slice(0, 8)}`;
  const now = Date.now() / 1000;
  const events: Beat[] = [];
  const add = (event: Event, wait = 20) => events.push({ event, wait });
  const write = (source: string, make: (offset: number, text: string) => Event) => {
    let offset = 0;
    for (const word of words(source)) {
      add(make(offset, word));
      offset += word.length;
    }
  };

  add({ type: "turn.opened", seq: seq++, turn, at: now, text, via: "browser" }, 10);
  add({ type: "step.opened", turn, step: 0 }, 700);
  write(PROSE, (offset, more) => ({ type: "text.delta", turn, step: 0, offset, text: more }));
  write(CODE, (offset, more) => ({ type: "code.delta", turn, step: 0, cell, offset, text: more }));
  add({ type: "step.closed", seq: seq++, turn, step: 0, prose: PROSE, code: { cell, code: CODE, opening: "", closing: "" }, finish: "code", error: "", usage: null });
  add({ type: "cell.opened", seq: seq++, turn, cell, step: 0, at: now + 4 });
  add({ type: "cell.progress", turn, cell, phase: "starting", words: "Starting the sandbox" }, 600);
  add({ type: "cell.progress", turn, cell, phase: "running", words: "" });
  add({ type: "kernel.changed", state: "busy", words: "", memory_used: 190_000_000, memory_limit: 1_073_741_824 });
  let printed = "";
  for (let n = 0; n < 5; n++) {
    const line = `batch ${n}: mean 7.0${n}2\n`;
    const output: Output = { kind: "text", name: "stdout", text: line, late: false };
    add({ type: "cell.output", turn, cell, n, ops: [n === 0 ? { op: "put", index: 0, output } : { op: "write", index: 0, at: printed.length, text: line }] }, 400);
    printed += line;
  }
  const outputs: Output[] = [{ kind: "text", name: "stdout", text: printed, late: false }];
  add({ type: "cell.closed", seq: seq++, turn, cell, at: now + 6, outcome: "ok", outputs, execution_count: 6, duration_s: 2.04, variables_kept: true, files_kept: true, fresh: false, lost: "", words: "", files: [] });
  add({ type: "kernel.changed", state: "idle", words: "", memory_used: 190_000_000, memory_limit: 1_073_741_824 });
  add({ type: "step.opened", turn, step: 1 }, 500);
  write(ANSWER, (offset, more) => ({ type: "text.delta", turn, step: 1, offset, text: more }));
  add({ type: "step.closed", seq: seq++, turn, step: 1, prose: ANSWER, code: null, finish: "answer", error: "", usage: null });
  add({ type: "turn.closed", seq, turn, at: now + 9, outcome: "answered", words: "" });

  const stopped = (at: number): DurableEvent[] => {
    const told = events.slice(0, at).flatMap(({ event }) => ("seq" in event ? [event] : []));
    return [{ type: "turn.closed", seq: told.at(-1)!.seq + 1, turn, at: now, outcome: "stopped", words: "You stopped this." }];
  };
  return { events, stopped };
}
