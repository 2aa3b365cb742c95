import type { Token } from "./lexer";
import { lex } from "./lexer";
import { mend } from "./mend";

/** One block of Markdown (a paragraph, a list, a fence…). The same object as long as its text is the same. */
export interface Block {
  key: number;
  raw: string;
  token: Token;
  settled: boolean;
}

/**
 * Reads Markdown that grows. Blocks before the last can no longer change, so they are kept, and only the tail is lexed
 * again: the work for one more word does not depend on how much came before. When the text is complete it is lexed once
 * as a whole, which brings in link definitions given at the end.
 */
export class BlockReader {
  private source = "";
  private done = false;
  private settled: Block[] = [];
  private settledLength = 0;
  private blocks: Block[] = [];

  /** The blocks of `source`. Asking again for the same text gives the same array. */
  read(source: string, done: boolean): Block[] {
    if (source === this.source && done === this.done) return this.blocks;
    if (!source.startsWith(this.source.slice(0, this.settledLength))) this.restart();
    this.source = source;
    this.done = done;
    this.blocks = done ? this.whole(source) : this.grown(source);
    return this.blocks;
  }

  private restart(): void {
    this.settled = [];
    this.settledLength = 0;
  }

  private grown(source: string): Block[] {
    const tokens = heldTogether(visible(lex(source.slice(this.settledLength))));
    const last = tokens.pop();
    for (const { token, raw } of tokens) this.settle(token, raw);
    if (!last) return [...this.settled];
    const tail: Block = { key: this.settled.length, raw: last.raw, token: mended(last), settled: false };
    return [...this.settled, tail];
  }

  private settle(token: Token, raw: string): void {
    this.settled.push({ key: this.settled.length, raw, token, settled: true });
    this.settledLength += raw.length;
  }

  private whole(source: string): Block[] {
    const all = lex(source);
    const reusable = Object.keys(all.links).length === 0;
    return visible(all).map(({ token, raw }, key) => {
      const known = this.settled[key];
      return reusable && known?.raw === raw ? known : { key, raw, token, settled: true };
    });
  }
}

/** A formula that has begun and, as far as it goes, has no blank line: its end may still come. */
const OPEN_FORMULA = /^ {0,3}(?:\$\$|\\\[)(?:(?!\n[ \t]*\n)[^])*$/;

/** Until a formula is closed, its lines look like prose and lists; they stay one block, shown as it is written. */
function heldTogether(tokens: { token: Token; raw: string }[]): { token: Token; raw: string }[] {
  const rest = tokens.map(({ raw }) => raw);
  const from = tokens.findIndex(({ token }, at) => token.type === "paragraph" && OPEN_FORMULA.test(rest.slice(at).join("")));
  if (from < 0) return tokens;
  const raw = rest.slice(from).join("");
  return [...tokens.slice(0, from), { token: { type: "text", raw, text: raw }, raw }];
}

/** Tokens without the blank ones, whose text goes to the block before (or, at the start, after) them. */
function visible(tokens: Token[]): { token: Token; raw: string }[] {
  const found: { token: Token; raw: string }[] = [];
  let leading = "";
  for (const token of tokens) {
    const last = found[found.length - 1];
    if (token.type !== "space") {
      found.push({ token, raw: leading + token.raw });
      leading = "";
    } else if (last) last.raw += token.raw;
    else leading += token.raw;
  }
  return found;
}

/** The last block as it will probably look: emphasis that is still open is shown as emphasis. */
function mended({ token, raw }: { token: Token; raw: string }): Token {
  const whole = token.type === "code" || token.type === "text" ? raw : mend(raw);
  return whole === raw ? token : (visible(lex(whole)).at(-1)?.token ?? token);
}
