/** Long text cut to its beginning and end. */
export interface Clipped {
  head: string;
  tail: string;
  lines: number;
  /** What was left out between the two; empty when nothing was. */
  middle: string;
}

export const LINES = 20;
const KEEP = 10;
/** A line can be endless: then characters are counted instead. */
const CHARACTERS = 12_000;

export function clip(text: string): Clipped {
  const lines = countLines(text);
  if (lines > LINES + 2) return cut(text, lines, Math.min(headEnd(text), CHARACTERS / 2), Math.max(tailStart(text), text.length - CHARACTERS / 2));
  if (text.length > CHARACTERS) return cut(text, lines, CHARACTERS / 2, text.length - CHARACTERS / 2);
  return { head: text, tail: "", lines, middle: "" };
}

function cut(text: string, lines: number, from: number, to: number): Clipped {
  return { head: text.slice(0, from), middle: text.slice(from, to), tail: text.slice(to), lines };
}

function countLines(text: string): number {
  let lines = text === "" || text.endsWith("\n") ? 0 : 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

function headEnd(text: string): number {
  let at = -1;
  for (let n = 0; n < KEEP; n++) at = text.indexOf("\n", at + 1);
  return at;
}

function tailStart(text: string): number {
  let at = text.endsWith("\n") ? text.length - 1 : text.length;
  for (let n = 0; n < KEEP; n++) at = text.lastIndexOf("\n", at - 1);
  return at + 1;
}
