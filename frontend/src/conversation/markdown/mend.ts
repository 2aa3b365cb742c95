const CODE_SPAN = /(`+)(?:[^`]|(?!\1)`)+\1/g;

/** Closes what is left open at the end of a growing paragraph (`**bold`, `` `code ``), so that it does not flicker. */
export function mend(raw: string): string {
  const text = raw.trimEnd();
  const bare = text.slice(text.lastIndexOf("\n\n") + 1).replace(CODE_SPAN, "");
  if (/(?<!`)`(?!`)[^`]*$/.test(bare)) return text.endsWith("`") ? text.slice(0, -1) : `${text}\``;
  const marks = bare.match(/\*\*/g)?.length ?? 0;
  if (marks % 2 === 0) return raw;
  return text.endsWith("**") ? text.slice(0, -2) : `${text}**`;
}
