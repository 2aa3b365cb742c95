import { memo, useMemo, useState } from "react";
import type { ReactNode } from "react";
import { colours, spans } from "./ansi";
import { clip } from "./clip";

/** Terminal text with its colours. Long text shows its beginning and its end, the end being where things happen. */
export const Terminal = memo(function Terminal({ text, className = "out" }: { text: string; className?: string }) {
  const [whole, setWhole] = useState(false);
  const cut = useMemo(() => clip(text), [text]);
  if (cut.middle === "") return <pre className={className}>{coloured(text)}</pre>;
  return (
    <>
      <pre className={className}>{coloured(whole ? text : cut.head)}</pre>
      <button type="button" className="more" aria-expanded={whole} onClick={() => setWhole(!whole)}>
        {whole ? "show less" : `show all (${cut.lines.toLocaleString("en")} ${cut.lines === 1 ? "line" : "lines"})`}
      </button>
      {!whole && <pre className={className}>{coloured(colours(cut.head + cut.middle) + cut.tail)}</pre>}
    </>
  );
});

function coloured(text: string): ReactNode {
  if (!text.includes("\x1b")) return text;
  return spans(text).map(({ text: piece, classes, color, background }, at) => (
    <span key={at} className={classes || undefined} style={{ ...(color && { color }), ...(background && { background }) }}>
      {piece}
    </span>
  ));
}
