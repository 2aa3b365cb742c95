/**
 * The conversation as the fold of its events; the twin of `backend/orchestrator/protocol/view.py`, whose docstring states
 * the laws. `tests/streams/` binds the two. Views are immutable: what did not change stays the same object, which is what
 * lets the page render only what changed.
 */
import type { Cell, CellClosed, CellOutput, CellProgress, CodeDelta, ConversationPage, DurableEvent, Event, Item, Live } from "../protocol";
import type { LiveEvent, StepClosed, StepOpened, TextDelta, Turn, TurnClosed, TurnOpened, TurnState, View } from "../protocol";
import { never } from "../protocol";
import { append, lengthOf, rest } from "./codepoints";
import { applyOps } from "./outputs";

export const EMPTY: View = {
  seq: 0,
  turns: [],
  kernel: { state: "none", words: "", memory_used: null, memory_limit: null },
  gap: false,
};

export function fold(events: readonly Event[], view: View = EMPTY): View {
  return events.reduce(apply, view);
}

export function ofPage(page: Pick<ConversationPage, "events" | "live" | "kernel">): View {
  const view = { ...fold(page.events), kernel: page.kernel };
  return page.live ? applyLive(view, page.live) : view;
}

/** Total: any event in any order leaves a well-formed view. */
export function apply(view: View, event: Event): View {
  return "seq" in event ? applyDurable(view, event) : applyTold(view, event);
}

function applyDurable(before: View, event: DurableEvent): View {
  if (event.seq <= before.seq) return before;
  const view = { ...before, seq: event.seq };
  switch (event.type) {
    case "turn.opened":
      return turnOpened(view, event);
    case "step.closed":
      return inTurn(view, event.turn, (turn) => stepClosed(turn, event));
    case "cell.opened":
      return inCell(view, event.turn, event.cell, (cell) => ({ ...cell, started_at: event.at }), "running");
    case "cell.closed":
      return inCell(view, event.turn, event.cell, (cell) => cellClosed(cell, event), "waiting");
    case "turn.closed":
      return inTurn(view, event.turn, (turn) => turnClosed(turn, event));
    default:
      never(event);
      return view;
  }
}

function applyTold(view: View, event: LiveEvent): View {
  switch (event.type) {
    case "kernel.changed": {
      const { state, words, memory_used, memory_limit } = event;
      return { ...view, kernel: { state, words, memory_used, memory_limit } };
    }
    case "step.opened":
      return inTurn(view, event.turn, (turn) => stepOpened(turn, event));
    case "text.delta":
      return orGap(view, event.turn, (turn) => textDelta(turn, event));
    case "code.delta":
      return orGap(view, event.turn, (turn) => codeDelta(turn, event));
    case "cell.progress":
      return inCell(view, event.turn, event.cell, (cell) => progress(cell, event), "running");
    case "cell.output":
      return orGap(view, event.turn, (turn) => cellOutput(turn, event));
    case "turn.stopping":
      return inTurn(view, event.turn, (turn) => ({ ...turn, state: "stopping" }));
    default:
      never(event);
      return view;
  }
}

/** What a page knows of the open turn beyond its durable events. */
export function applyLive(view: View, live: Live): View {
  return inTurn(view, live.turn, (turn) => {
    const written = live.step < turn.next_step ? turn : writtenSoFar(turn, live);
    const cell = written.items.find((item): item is Cell => item.kind === "cell" && item.cell === live.cell);
    const shown = cell && isOpen(cell) && live.phase !== null ? put(written, runningSoFar(cell, live), "running") : written;
    return live.stopping ? { ...shown, state: "stopping" } : shown;
  });
}

function writtenSoFar(turn: Turn, live: Live): Turn {
  const before = turn.items.filter((item) => item.step !== live.step);
  const written: Item[] = [];
  if (live.prose) written.push({ kind: "prose", step: live.step, text: live.prose, finish: null });
  if (live.code !== null && live.cell !== null) written.push(newCell(live.step, live.cell, live.code));
  return { ...turn, items: [...before, ...written], state: settle(turn, written.length > 0 ? "writing" : "waiting") };
}

function runningSoFar(cell: Cell, live: Live): Cell {
  return { ...cell, state: live.phase ?? cell.state, outputs: live.outputs, n: live.n };
}

type Change = (turn: Turn) => Turn | null;

function turnOpened(view: View, { turn, text, via, at }: TurnOpened): View {
  if (view.turns.some((known) => known.turn === turn)) return view;
  const fresh: Turn = {
    turn,
    text,
    via,
    opened_at: at,
    closed_at: null,
    state: "waiting",
    items: [],
    next_step: 0,
    outcome: null,
    words: "",
    error: "",
  };
  return { ...view, turns: [...view.turns, fresh] };
}

function stepClosed(turn: Turn, { step, prose, code, finish, error }: StepClosed): Turn {
  if (step < turn.next_step) return turn;
  const items: Item[] = turn.items.filter((item) => item.step !== step);
  if (prose) items.push({ kind: "prose", step, text: prose, finish });
  if (code) items.push({ ...newCell(step, code.cell, code.code), state: finish === "code" ? "written" : "not_run", finish });
  return { ...turn, items, next_step: step + 1, error, state: settle(turn, finish === "code" ? "running" : "waiting") };
}

function cellClosed(cell: Cell, event: CellClosed): Cell {
  const { outcome, outputs, execution_count, duration_s, variables_kept, files_kept, fresh, words, files } = event;
  const closed = { outcome, outputs, execution_count, duration_s, variables_kept, files_kept, fresh, words, files };
  return { ...cell, ...closed, state: "closed", phase_words: "", n: -1 };
}

function turnClosed(turn: Turn, { at, outcome, words }: TurnClosed): Turn {
  return { ...turn, state: "closed", closed_at: at, outcome, words };
}

function stepOpened(turn: Turn, { step }: StepOpened): Turn {
  return step < turn.next_step || turn.items.some((item) => item.step === step) ? turn : { ...turn, state: settle(turn, "waiting") };
}

function textDelta(turn: Turn, { step, offset, text }: TextDelta): Turn | null {
  if (step < turn.next_step) return turn;
  const known = turn.items.find((item) => item.kind === "prose" && item.step === step);
  const grown = grow(known?.kind === "prose" ? known.text : "", offset, text);
  if (grown === null || step > turn.next_step) return null;
  if (grown === "") return turn;
  return put(turn, { kind: "prose", step, text: grown, finish: null }, "writing");
}

function codeDelta(turn: Turn, { step, cell: id, offset, text }: CodeDelta): Turn | null {
  if (step < turn.next_step) return turn;
  const known = turn.items.find((item): item is Cell => item.kind === "cell" && item.cell === id);
  const grown = grow(known?.code ?? "", offset, text);
  if (grown === null || step > turn.next_step) return null;
  return put(turn, known ? { ...known, code: grown } : newCell(step, id, grown), "writing");
}

function progress(cell: Cell, { phase, words }: CellProgress): Cell {
  return { ...cell, state: phase, phase_words: words };
}

function cellOutput(turn: Turn, { cell: id, n, ops }: CellOutput): Turn | null {
  const cell = turn.items.find((item): item is Cell => item.kind === "cell" && item.cell === id);
  if (!cell || !isOpen(cell) || n < cell.n) return turn;
  const outputs = n > cell.n ? null : applyOps(cell.outputs, ops);
  return outputs && put(turn, { ...cell, outputs, n: n + 1 }, "running");
}

/** `known` with `text`, which starts at `offset`; null when something between the two is missing. */
function grow(known: string, offset: number, text: string): string | null {
  const length = lengthOf(known);
  if (offset > length) return null;
  return append(known, rest(text, length - offset));
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
    words: "",
    files: [],
  };
}

const isOpen = (cell: Cell) => cell.state !== "closed" && cell.state !== "not_run";

/** A turn that is stopping stays so until it is closed. */
const settle = (turn: Turn, state: TurnState): TurnState => (turn.state === "stopping" ? "stopping" : state);

/** The turn with `item` in the place of the one it continues, or at the end. */
function put(turn: Turn, item: Item, state: TurnState): Turn {
  const at = turn.items.findIndex((known) => known.kind === item.kind && known.step === item.step);
  const items = at < 0 ? [...turn.items, item] : turn.items.with(at, item);
  return { ...turn, items, state: settle(turn, state) };
}

/** Changes an open turn; closed and unknown ones stay as they are. */
function inTurn(view: View, id: string, change: (turn: Turn) => Turn): View {
  const at = view.turns.findIndex((turn) => turn.turn === id);
  const turn = view.turns[at];
  if (!turn || turn.state === "closed") return view;
  const changed = change(turn);
  return changed === turn ? view : { ...view, turns: view.turns.with(at, changed) };
}

/** As `inTurn`; a change that is not possible because something was missed sets `gap`. */
function orGap(view: View, id: string, change: Change): View {
  let missed = false;
  const next = inTurn(view, id, (turn) => {
    const changed = change(turn);
    missed = changed === null;
    return changed ?? turn;
  });
  return missed ? { ...next, gap: true } : next;
}

/** Changes an open cell of an open turn. */
function inCell(view: View, turn: string, id: string, change: (cell: Cell) => Cell, state: TurnState): View {
  return inTurn(view, turn, (found) => {
    const cell = found.items.find((item): item is Cell => item.kind === "cell" && item.cell === id);
    return cell && isOpen(cell) ? put(found, change(cell), state) : found;
  });
}
