/**
 * The conversation as the fold of its events; the twin of `backend/orchestrator/protocol/fold.py`, step by step, by the
 * laws stated in `view.py`. `tests/streams/` binds the two. Views are immutable: what did not change stays the same
 * object, which is what lets the page render only what changed.
 */
import type { Cell, CellClosed, CellOpened, CellOutput, CellProgress, CodeDelta, ConversationPage, DurableEvent } from "../protocol";
import type { Event, Item, Live, Prose, StepClosed, Turn, TurnClosed, TurnOpened, TurnState, View } from "../protocol";
import { never } from "../protocol";
import { append, lengthOf, rest } from "./codepoints";
import { applyOps } from "./outputs";

export const EMPTY: View = {
  seq: 0,
  turns: [],
  kernel: { state: "none", words: "", memory_used: null, memory_limit: null },
  gap: false,
};

/** What a change gives when something it builds on was missed. */
const GAP = Symbol("gap");
type Change = (turn: Turn) => Turn | typeof GAP;

export function fold(events: readonly Event[], live: Live | null = null): View {
  const view = events.reduce(apply, EMPTY);
  return live ? applyLive(view, live) : view;
}

export function ofPage({ events, live, kernel }: Pick<ConversationPage, "events" | "live" | "kernel">): View {
  return { ...fold(events, live), kernel };
}

/** The view after one more event. Total: any event in any order leaves a well-formed view. */
export function apply(view: View, event: Event): View {
  switch (event.type) {
    case "turn.opened":
    case "step.closed":
    case "cell.opened":
    case "cell.closed":
    case "turn.closed":
      return durable(view, event);
    case "step.opened":
      return inTurn(view, event.turn, (turn) => stepOpened(turn, event.step));
    case "text.delta":
      return inTurn(view, event.turn, (turn) => written(turn, event.step, event.offset, event.text));
    case "code.delta":
      return inTurn(view, event.turn, (turn) => codeWritten(turn, event));
    case "cell.progress":
      return inTurn(view, event.turn, (turn) => progress(turn, event));
    case "cell.output":
      return inTurn(view, event.turn, (turn) => put(turn, event));
    case "turn.stopping":
      return inTurn(view, event.turn, (turn) => ({ ...turn, state: "stopping" }));
    case "kernel.changed": {
      const { state, words, memory_used, memory_limit } = event;
      return { ...view, kernel: { state, words, memory_used, memory_limit } };
    }
    default:
      never(event);
      return view;
  }
}

// ---- durable events ----

function durable(before: View, event: DurableEvent): View {
  if (event.seq <= before.seq) return before;
  if (event.seq > before.seq + 1) return { ...before, gap: true };
  const view = { ...before, seq: event.seq };
  switch (event.type) {
    case "turn.opened":
      return turnOpened(view, event);
    case "step.closed":
      return inTurn(view, event.turn, (turn) => stepClosed(turn, event));
    case "cell.opened":
      return inTurn(view, event.turn, (turn) => cellOpened(turn, event));
    case "cell.closed":
      return inTurn(view, event.turn, (turn) => cellClosed(turn, event));
    case "turn.closed":
      return inTurn(view, event.turn, (turn) => turnClosed(turn, event));
    default:
      never(event);
      return view;
  }
}

function turnOpened(view: View, { turn, text, via, at }: TurnOpened): View {
  if (view.turns.some((known) => known.turn === turn)) return view;
  const nothing = { closed_at: null, items: [], next_step: 0, outcome: null, words: "", error: "" };
  return { ...view, turns: [...view.turns, { turn, text, via, opened_at: at, state: "waiting", ...nothing }] };
}

function stepClosed(turn: Turn, { step, prose, code, finish, error }: StepClosed): Turn {
  if (step < turn.next_step) return turn;
  const items: Item[] = turn.items.filter((item) => item.step !== step);
  const runs = finish === "code";
  if (prose) items.push({ kind: "prose", step, text: prose, finish });
  if (code) items.push({ ...newCell(step, code.cell, code.code), state: runs ? "written" : "not_run", finish });
  return goOn({ ...turn, items, next_step: step + 1, error }, runs ? "running" : "waiting");
}

function cellOpened(turn: Turn, { cell: id, at }: CellOpened): Turn {
  return inCell(turn, id, "running", (cell) => ({ ...cell, state: "queued", started_at: at }));
}

function cellClosed(turn: Turn, event: CellClosed): Turn {
  const { outcome, outputs, execution_count, duration_s, variables_kept, files_kept, fresh, words, files } = event;
  const lost = event.lost ?? "";
  const end = { outcome, outputs, execution_count, duration_s, variables_kept, files_kept, fresh, lost, words, files };
  return inCell(turn, event.cell, "waiting", (cell) => ({ ...cell, state: "closed", phase_words: "", n: -1, ...end }));
}

function turnClosed(turn: Turn, { at, outcome, words }: TurnClosed): Turn {
  const items = turn.items.filter((item) => item.finish !== null);
  return { ...turn, state: "closed", closed_at: at, items, outcome, words };
}

// ---- live events ----

function stepOpened(turn: Turn, step: number): Turn {
  return step < turn.next_step || turn.items.some((item) => item.step === step) ? turn : goOn(turn, "waiting");
}

function written(turn: Turn, step: number, offset: number, text: string): Turn | typeof GAP {
  if (step !== turn.next_step) return step > turn.next_step ? GAP : turn;
  const known = turn.items.find((item): item is Prose => item.kind === "prose" && item.step === step);
  const grown = grow(known?.text ?? "", offset, text);
  if (grown === null) return GAP;
  if (grown === (known?.text ?? "")) return turn;
  return goOn(replace(turn, known, { kind: "prose", step, text: grown, finish: null }), "writing");
}

function codeWritten(turn: Turn, { step, cell: id, offset, text }: CodeDelta): Turn | typeof GAP {
  if (step !== turn.next_step) return step > turn.next_step ? GAP : turn;
  const known = turn.items.find((item): item is Cell => item.kind === "cell" && item.step === step);
  if (known && known.cell !== id) return turn;
  const grown = grow(known?.code ?? "", offset, text);
  if (grown === null) return GAP;
  if (known && grown === known.code) return turn;
  return goOn(replace(turn, known, known ? { ...known, code: grown } : newCell(step, id, grown)), "writing");
}

function progress(turn: Turn, { cell: id, phase, words }: CellProgress): Turn {
  return inCell(turn, id, "running", (cell) => ({ ...cell, state: phase, phase_words: words }));
}

function put(turn: Turn, { cell: id, n, ops }: CellOutput): Turn | typeof GAP {
  const cell = openCell(turn, id);
  if (!cell || n < cell.n) return turn;
  if (n > cell.n) return GAP;
  return goOn(replace(turn, cell, { ...cell, outputs: applyOps(cell.outputs, ops), n: n + 1 }), "running");
}

/** `known` with the new part of `text`, which starts at `offset`; null when something between the two is missing. */
function grow(known: string, offset: number, text: string): string | null {
  const length = lengthOf(known);
  if (offset > length) return null;
  const more = rest(text, length - offset);
  return more ? append(known, more) : known;
}

// ---- joining late ----

/** The view of the durable events, with what a page's `live` adds to it. */
export function applyLive(view: View, live: Live): View {
  return inTurn(view, live.turn, (turn) => withLive(turn, live));
}

function withLive(before: Turn, live: Live): Turn | typeof GAP {
  const { step, prose, code, cell: id, phase, words: phase_words, outputs, n } = live;
  const turn: Turn = live.stopping ? { ...before, state: "stopping" } : before;
  if (id !== null && phase !== null) {
    if ((openCell(turn, id)?.n ?? Infinity) > n) return turn;
    return inCell(turn, id, "running", (cell) => ({ ...cell, state: phase, phase_words, outputs, n }));
  }
  if (step !== turn.next_step) return turn;
  const said = written(turn, step, 0, prose);
  if (said === GAP || id === null || code === null) return said;
  return codeWritten(said, { type: "code.delta", turn: live.turn, step, cell: id, offset: 0, text: code });
}

// ---- helpers ----

/** Changes an open turn; nothing happens to one that is closed or unknown. */
function inTurn(view: View, id: string, change: Change): View {
  const at = view.turns.findLastIndex((turn) => turn.turn === id);
  const turn = view.turns[at];
  if (!turn || turn.state === "closed") return view;
  const changed = change(turn);
  if (changed === GAP) return { ...view, gap: true };
  return changed === turn ? view : { ...view, turns: view.turns.with(at, changed) };
}

function openCell(turn: Turn, id: string): Cell | undefined {
  const cell = turn.items.findLast((item): item is Cell => item.kind === "cell" && item.cell === id);
  return cell && cell.state !== "closed" && cell.state !== "not_run" ? cell : undefined;
}

/** Changes a cell that has not ended. */
function inCell(turn: Turn, id: string, state: TurnState, change: (cell: Cell) => Cell): Turn {
  const cell = openCell(turn, id);
  return cell ? goOn(replace(turn, cell, change(cell)), state) : turn;
}

/** `next` in the place of `known`, or at the end when there was none. */
function replace(turn: Turn, known: Item | undefined, next: Item): Turn {
  const items = known ? turn.items.map((item) => (item === known ? next : item)) : [...turn.items, next];
  return { ...turn, items };
}

/** On to another state; a stopping turn stays stopping. */
function goOn(turn: Turn, state: TurnState): Turn {
  return turn.state === "stopping" || turn.state === state ? turn : { ...turn, state };
}

function newCell(step: number, cell: string, code: string): Cell {
  return {
    kind: "cell",
    step,
    cell,
    code,
    state: "writing",
    phase_words: "",
    finish: null,
    started_at: null,
    outcome: null,
    outputs: [],
    n: 0,
    execution_count: null,
    duration_s: null,
    variables_kept: true,
    files_kept: true,
    fresh: false,
    lost: "",
    words: "",
    files: [],
  };
}
