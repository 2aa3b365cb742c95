// Offsets on the wire count Unicode code points (as Python does); JavaScript counts UTF-16 units.

const SURROGATE = /[\ud800-\udfff]/;

function count(text: string): number {
  if (!SURROGATE.test(text)) return text.length;
  let n = text.length;
  for (let i = 0; i < text.length - 1; i++) {
    if (isHigh(text.charCodeAt(i)) && isLow(text.charCodeAt(i + 1))) n--;
  }
  return n;
}

const isHigh = (unit: number) => unit >= 0xd800 && unit < 0xdc00;
const isLow = (unit: number) => unit >= 0xdc00 && unit < 0xe000;

/**
 * The texts that grow right now, with their lengths. A growing text is measured once per delta; without this memory each
 * delta would read the whole text again, which is quadratic in its length.
 */
const RECENT = 4;
const recent: { text: string; length: number }[] = [];

function remember(text: string, length: number): number {
  recent.unshift({ text, length });
  recent.length = Math.min(recent.length, RECENT);
  return length;
}

/** Number of code points. */
export function lengthOf(text: string): number {
  if (text.length < 64) return count(text);
  const known = recent.find((entry) => entry.text === text);
  return known ? known.length : remember(text, count(text));
}

/** `text` + `more`, with the sum's length remembered. */
export function append(text: string, more: string): string {
  const length = lengthOf(text) + count(more);
  const sum = text + more;
  if (sum.length >= 64) remember(sum, length);
  return sum;
}

/** The first `n` code points. */
export function head(text: string, n: number): string {
  return text.slice(0, unitsOf(text, n));
}

/** All but the first `n` code points. */
export function rest(text: string, n: number): string {
  return text.slice(unitsOf(text, n));
}

/** How many UTF-16 units the first `n` code points take. */
function unitsOf(text: string, n: number): number {
  const extra = text.length - lengthOf(text);
  if (extra === 0 || n <= 0) return Math.max(0, n);
  let units = 0;
  for (let left = n; left > 0 && units < text.length; left--) {
    units += isHigh(text.charCodeAt(units)) && isLow(text.charCodeAt(units + 1)) ? 2 : 1;
  }
  return units;
}
