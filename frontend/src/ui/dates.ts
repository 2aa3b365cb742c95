/** A moment (Unix seconds) in the reader's own way of writing. */
export const moment = (at: number): string => new Date(at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** How long ago, or how long until, in one unit. */
export function away(at: number, now: number): string {
  const seconds = Math.round(at - now);
  const [size, unit] = UNITS.find(([least]) => Math.abs(seconds) >= least) ?? [1, "second" as const];
  return new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
}

const UNITS: [number, Intl.RelativeTimeFormatUnit][] = [
  [86400, "day"],
  [3600, "hour"],
  [60, "minute"],
  [1, "second"],
];
