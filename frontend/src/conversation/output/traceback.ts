import { plain } from "./ansi";

/**
 * The line of the cell's own code (from 1) that the exception passed last, or null. `count` is the cell's number: a
 * traceback may also pass through functions that earlier cells defined.
 */
export function badLine(traceback: string, count: number | null): number | null {
  const frames = [...plain(traceback).matchAll(/^\s*Cell In ?\[(\d+)\], line (\d+)/gm)];
  const own = frames.filter(([, cell]) => count === null || Number(cell) === count).at(-1);
  return own ? Number(own[2]) : null;
}
