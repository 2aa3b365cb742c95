/** A piece of terminal text in one style. */
export interface Span {
  text: string;
  /** Classes for the sixteen named colours and the attributes; empty when plain. */
  classes: string;
  /** CSS colours outside the sixteen. */
  color: string | null;
  background: string | null;
}

interface Style {
  color: string | null;
  background: string | null;
  marks: ReadonlySet<string>;
}

const PLAIN: Style = { color: null, background: null, marks: new Set() };
// eslint-disable-next-line no-control-regex -- escape sequences begin with a control character
const SEQUENCE = /\x1b\[([0-9;:]*)m|\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])/g;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const MARKS: Record<number, string> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const ENDED: Record<number, string[]> = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

/** Text with SGR colours as spans. Every other escape sequence is left out. */
export function spans(text: string): Span[] {
  const found: Span[] = [];
  let style = PLAIN;
  let from = 0;
  const emit = (to: number) => {
    if (to > from) found.push(spanOf(text.slice(from, to), style));
  };
  for (const match of text.matchAll(SEQUENCE)) {
    emit(match.index);
    from = match.index + match[0].length;
    if (match[1] !== undefined) style = styled(style, match[1]);
  }
  emit(text.length);
  return found;
}

/** The text alone. */
export function plain(text: string): string {
  return text.includes("\x1b") ? text.replace(SEQUENCE, "") : text;
}

/** The colour sequences of `text` without its words: put before what follows, they colour it as the whole would. */
export function colours(text: string): string {
  if (!text.includes("\x1b")) return "";
  const last = text.lastIndexOf("\x1b[0m");
  return [...text.slice(Math.max(0, last)).matchAll(SEQUENCE)].map((match) => (match[1] === undefined ? "" : match[0])).join("");
}

function spanOf(text: string, { color, background, marks }: Style): Span {
  const named = (value: string | null, kind: string) => (value !== null && !value.startsWith("#") ? [`ansi-${kind}-${value}`] : []);
  const hex = (value: string | null) => (value?.startsWith("#") ? value : null);
  const classes = [...named(color, "fg"), ...named(background, "bg"), ...[...marks].map((mark) => `ansi-${mark}`)];
  return { text, classes: classes.join(" "), color: hex(color), background: hex(background) };
}

function styled(style: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((code) => Number(code || 0));
  let next = style;
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at]!;
    if (code === 38 || code === 48) {
      const { value, used } = extended(codes.slice(at + 1));
      next = code === 38 ? { ...next, color: value } : { ...next, background: value };
      at += used;
    } else next = changed(next, code);
  }
  return next;
}

function changed(style: Style, code: number): Style {
  if (code === 0) return PLAIN;
  if (MARKS[code]) return { ...style, marks: new Set([...style.marks, MARKS[code]]) };
  if (ENDED[code]) return { ...style, marks: new Set([...style.marks].filter((mark) => !ENDED[code]!.includes(mark))) };
  if (code === 39) return { ...style, color: null };
  if (code === 49) return { ...style, background: null };
  if (code >= 30 && code <= 37) return { ...style, color: NAMES[code - 30]! };
  if (code >= 90 && code <= 97) return { ...style, color: `bright-${NAMES[code - 90]!}` };
  if (code >= 40 && code <= 47) return { ...style, background: NAMES[code - 40]! };
  if (code >= 100 && code <= 107) return { ...style, background: `bright-${NAMES[code - 100]!}` };
  return style;
}

/** What follows 38 or 48: `5;n` (palette) or `2;r;g;b`. */
function extended(codes: number[]): { value: string | null; used: number } {
  if (codes[0] === 5) return { value: palette(codes[1] ?? 0), used: 2 };
  if (codes[0] === 2) return { value: rgb(codes[1] ?? 0, codes[2] ?? 0, codes[3] ?? 0), used: 4 };
  return { value: null, used: 0 };
}

function palette(n: number): string {
  if (n < 8) return NAMES[n]!;
  if (n < 16) return `bright-${NAMES[n - 8]!}`;
  if (n >= 232) return rgb(8 + 10 * (n - 232), 8 + 10 * (n - 232), 8 + 10 * (n - 232));
  const level = (step: number) => (step === 0 ? 0 : 55 + 40 * step);
  const cube = n - 16;
  return rgb(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function rgb(...parts: number[]): string {
  return `#${parts.map((part) => Math.min(255, part).toString(16).padStart(2, "0")).join("")}`;
}
