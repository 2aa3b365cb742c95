import { describe, expect, it } from "vitest";
import type { Event, Live } from "../protocol";
import { apply, applyLive, EMPTY, fold } from "./fold";

const opened: Event = { type: "turn.opened", seq: 1, turn: "t", at: 1, text: "hi", via: "browser" };
const text = (offset: number, more: string): Event => ({ type: "text.delta", turn: "t", step: 0, offset, text: more });
const code = (offset: number, more: string): Event => ({ type: "code.delta", turn: "t", step: 0, cell: "c", offset, text: more });
const stepClosed: Event = {
  type: "step.closed", seq: 2, turn: "t", step: 0, prose: "one 𝒳 two", finish: "code", error: "", usage: null,
  code: { cell: "c", code: "x = 1", opening: "<execute>", closing: "</execute>" },
};
const cellOpened: Event = { type: "cell.opened", seq: 3, turn: "t", cell: "c", step: 0, at: 2 };
const put = (n: number, printed: string): Event => ({
  type: "cell.output", turn: "t", cell: "c", n, ops: [{ op: "put", index: 0, output: { kind: "text", name: "stdout", text: printed, late: false } }],
});
const cellClosed: Event = {
  type: "cell.closed", seq: 4, turn: "t", cell: "c", at: 3, outcome: "ok", outputs: [{ kind: "text", name: "stdout", text: "done", late: false }],
  execution_count: 1, duration_s: 1, variables_kept: true, files_kept: true, fresh: false, lost: "", words: "", files: [],
};
const turnClosed: Event = { type: "turn.closed", seq: 5, turn: "t", at: 4, outcome: "answered", words: "" };
const all = [opened, text(0, "one 𝒳"), text(5, " two"), code(0, "x ="), code(3, " 1"), stepClosed, cellOpened, put(0, "d"), put(1, "done"), cellClosed, turnClosed];

describe("the fold", () => {
  it("is the same whether an event comes once or twice", () => {
    expect(fold(all.flatMap((event) => [event, event]))).toEqual(fold(all));
  });

  it("shows the same in the end with and without the live events", () => {
    expect(fold(all.filter((event) => "seq" in event))).toEqual(fold(all));
  });

  it("counts offsets in code points", () => {
    const view = fold([opened, text(0, "one 𝒳"), text(5, " two")]);
    expect(view.gap).toBe(false);
    expect(view.turns[0]!.items[0]).toMatchObject({ text: "one 𝒳 two" });
  });

  it("cuts a delta that overlaps to its new part", () => {
    expect(fold([opened, text(0, "one 𝒳"), text(4, "𝒳 two")]).turns[0]!.items[0]).toMatchObject({ text: "one 𝒳 two" });
  });

  it("knows when text, output or a durable event was missed", () => {
    expect(fold([opened, text(3, "late")]).gap).toBe(true);
    expect(fold([opened, stepClosed, cellOpened, put(1, "late")]).gap).toBe(true);
    expect(fold([opened, cellOpened]).gap).toBe(true);
  });

  it("ignores what belongs to something closed", () => {
    const view = fold(all);
    for (const event of [text(0, "x"), code(0, "x"), put(0, "x"), { type: "turn.stopping", turn: "t" } as const]) {
      expect(apply(view, event)).toBe(view);
    }
  });

  it("survives any order of events", () => {
    for (const first of all) for (const second of all) for (const third of all) expect(fold([first, second, third]).turns.length).toBeLessThan(2);
  });

  it("keeps what did not change as the same object", () => {
    const before = fold([...all, { ...opened, seq: 6, turn: "u" }]);
    const after = apply(before, { type: "text.delta", turn: "u", step: 0, offset: 0, text: "more" });
    expect(after.turns[0]).toBe(before.turns[0]);
    expect(after.turns[1]).not.toBe(before.turns[1]);
  });

  it("joins a cell late with what it has put out so far", () => {
    const live: Live = { turn: "t", step: 0, prose: "", code: null, cell: "c", phase: "running", words: "", outputs: [{ kind: "text", name: "stdout", text: "d", late: false }], n: 1, stopping: false };
    const joined = applyLive(fold([opened, stepClosed, cellOpened]), live);
    const phase: Event = { type: "cell.progress", turn: "t", cell: "c", phase: "running", words: "" };
    expect(joined).toEqual(fold([opened, stepClosed, cellOpened, phase, put(0, "d")]));
    expect(apply(joined, put(0, "again"))).toBe(joined);
  });

  it("begins empty", () => expect(fold([])).toEqual(EMPTY));
});
