/** A count or a size as people read it. `unit` is as the server names it: bytes get a prefix, all else is named. */
export function amount(value: number, unit: string): string {
  if (unit === "bytes") return bytes(value);
  const rounded = Math.abs(value) >= 100 || Number.isInteger(value) ? Math.round(value) : Math.round(value * 10) / 10;
  return unit ? `${rounded.toLocaleString()} ${unit}` : rounded.toLocaleString();
}

const PREFIXES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number): string {
  const step = Math.min(PREFIXES.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
  const scaled = value / 2 ** (10 * step);
  return `${scaled >= 100 || step === 0 ? Math.round(scaled) : scaled.toFixed(1)} ${PREFIXES[step]}`;
}

/** A span of time in its two largest units. */
export function spell(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
