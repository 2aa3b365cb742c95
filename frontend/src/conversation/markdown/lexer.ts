import type { Token, Tokens, TokensList } from "marked";
import { Marked } from "marked";

/** TeX between `$…$`, `$$…$$`, `\(…\)` or `\[…\]`. */
export interface MathToken extends Tokens.Generic {
  type: "math";
  tex: string;
  display: boolean;
}

/** Without a blank line within, as in TeX: so that a formula never closed does not swallow what follows. */
const BLOCK = /^ {0,3}(?:\$\$((?:(?!\n[ \t]*\n)[^])+?)\$\$|\\\[((?:(?!\n[ \t]*\n)[^])+?)\\\])[ \t]*(?:\n+|$)/;
const SHOWN = /^(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\])/;
/** As pandoc has it: no blank inside the dollars, no digit after them, so that "$5 and $6" stays prose. */
const INLINE = /^(?:\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)|\\\(([\s\S]+?)\\\))/;

function math(match: RegExpExecArray | null, display: boolean): MathToken | undefined {
  const tex = match?.[1] ?? match?.[2];
  return match && tex !== undefined ? { type: "math", raw: match[0], tex: tex.trim(), display } : undefined;
}

function startOf(pattern: RegExp) {
  return (source: string): number | undefined => {
    const at = source.search(pattern);
    return at < 0 ? undefined : at;
  };
}

const markdown = new Marked({
  gfm: true,
  extensions: [
    { name: "math", level: "block", start: startOf(/\n {0,3}(?:\$\$|\\\[)/), tokenizer: (s) => math(BLOCK.exec(s), true) },
    {
      name: "math",
      level: "inline",
      start: startOf(/\$|\\[([]/),
      tokenizer: (s) => math(SHOWN.exec(s), true) ?? math(INLINE.exec(s), false),
    },
  ],
});

/** Markdown to tokens; their `raw` texts, joined, are the source again. */
export function lex(source: string): TokensList {
  return markdown.lexer(source);
}

export type { Token, Tokens };
