import type { Cell, CellOutcome, Kernel, StepFinish, Turn, TurnOutcome } from "../protocol";
import type { IconName } from "../ui/Icon";

/** How a state looks: its place in the palette, its icon, and the words a colleague would use. */
export interface Look {
  tone: "muted" | "live" | "good" | "bad" | "warn";
  icon: IconName;
  words: string;
}

const OUTCOMES: Record<CellOutcome, Look> = {
  ok: { tone: "good", icon: "check", words: "Done" },
  error: { tone: "bad", icon: "cross", words: "Error" },
  interrupted: { tone: "muted", icon: "stop", words: "Interrupted" },
  timed_out: { tone: "bad", icon: "clock", words: "Timed out" },
  out_of_memory: { tone: "bad", icon: "cross", words: "Ran out of memory" },
  kernel_died: { tone: "bad", icon: "cross", words: "The kernel died" },
  sandbox_lost: { tone: "bad", icon: "cross", words: "The sandbox was lost" },
  unavailable: { tone: "bad", icon: "warn", words: "Could not run" },
  lost: { tone: "bad", icon: "warn", words: "Lost" },
};

const NOT_RUN: Partial<Record<StepFinish, string>> = {
  cut_off: "Not run: the code was cut off",
  stopped: "Not run: stopped while it was written",
  failed: "Not run: the model failed while writing it",
  lost: "Not run: the server went away while it was written",
};

export function lookOfCell(cell: Cell): Look {
  switch (cell.state) {
    case "writing":
      return { tone: "live", icon: "pencil", words: "Writing code" };
    case "written":
      return { tone: "live", icon: "live", words: "About to run" };
    case "queued":
      return { tone: "live", icon: "clock", words: sentence(cell.phase_words) || "Queued" };
    case "starting":
      return { tone: "live", icon: "live", words: sentence(cell.phase_words) || "Starting the sandbox" };
    case "running":
      return { tone: "live", icon: "live", words: sentence(cell.phase_words) || "Running" };
    case "not_run":
      return { tone: "muted", icon: "dash", words: (cell.finish && NOT_RUN[cell.finish]) ?? "Not run" };
    case "closed":
      return OUTCOMES[cell.outcome ?? "lost"];
  }
}

const sentence = (words: string) => words.charAt(0).toUpperCase() + words.slice(1);

/** Why a turn ended, for every ending but the good one. */
const ENDINGS: Record<TurnOutcome, string> = {
  answered: "",
  stopped: "Stopped.",
  execution_limit: "Stopped: this turn has run as much code as one turn may.",
  time_limit: "Stopped: this turn has taken as long as one turn may.",
  token_limit: "Stopped: the model has written as much as one turn may.",
  repeating: "Stopped: the same code gave the same result again and again.",
  model_failed: "The model did not answer.",
  sandbox_failed: "No sandbox could be made, so no code was run.",
  lost: "The server went away while this was being answered.",
};

const GENTLE: ReadonlySet<TurnOutcome> = new Set<TurnOutcome>(["stopped", "execution_limit", "time_limit", "token_limit", "repeating"]);

export function lookOfEnding(turn: Turn): Look | null {
  if (turn.outcome === null || turn.outcome === "answered") return null;
  const words = turn.words || turn.error || ENDINGS[turn.outcome];
  return { tone: GENTLE.has(turn.outcome) ? "muted" : "bad", icon: GENTLE.has(turn.outcome) ? "stop" : "warn", words };
}

const KERNEL: Record<Kernel["state"], string> = {
  none: "",
  starting: "kernel starting",
  idle: "kernel idle",
  busy: "kernel busy",
  restarting: "kernel restarting",
};

/** "kernel busy" and "182 MB of 1 GB"; empty where there is nothing to say. */
export function kernelWords({ state, words, memory_used: used, memory_limit: limit }: Kernel): { state: string; memory: string } {
  const memory = used === null || state === "none" ? "" : limit === null ? size(used) : `${size(used)} of ${size(limit)}`;
  return { state: KERNEL[state] || words, memory };
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes for people: powers of 1024, three digits at most. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 && !Number.isInteger(value) ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]!}`;
}

/** Seconds for people: "0.4 s", "12 s", "3 min 5 s". */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Whole seconds of something that goes on; nothing in the first. */
export function counting(seconds: number): string {
  return seconds < 1 ? "" : seconds < 60 ? `${seconds} s` : duration(seconds);
}

/** What the code is about: its first line, where that is a comment. */
export function intent(code: string): string {
  const first = code.trimStart().split("\n", 1)[0] ?? "";
  return first.startsWith("#") && !first.startsWith("#!") ? first.replace(/^#+\s*/, "") : "";
}
