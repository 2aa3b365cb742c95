import { memo, useMemo, useState } from "react";
import { lazily } from "./lazy";
import { escapeHtml, splitLines } from "./lines";

const useHighlighter = lazily(() => import("./highlighter"));

/** Lines shown before "show all": enough to see what it is about, few enough to keep the answer in sight. */
const FOLDED = 14;

interface Props {
  code: string;
  language: string;
  /** False while it is being written: then it is plain text, and shows its end. */
  settled: boolean;
  /** The line (from 1) that raised, if any. */
  badLine?: number | null;
}

/** Code on its quiet ground: plain while it grows, coloured once it is complete, folded when long. */
export const Code = memo(function Code({ code, language, settled, badLine = null }: Props) {
  const [unfolded, setUnfolded] = useState(false);
  const count = useMemo(() => code.split("\n").length, [code]);
  const long = count > FOLDED + 2;
  const folded = long && !unfolded;
  return (
    <>
      {settled ? (
        <Coloured code={code} language={language} badLine={badLine} limit={folded ? FOLDED : null} />
      ) : (
        <pre className="code">{folded ? code.split("\n").slice(-FOLDED).join("\n") : code}</pre>
      )}
      {long && (
        <button type="button" className="more" aria-expanded={unfolded} onClick={() => setUnfolded(!unfolded)}>
          {unfolded ? "show less" : `show all (${count} lines)`}
        </button>
      )}
    </>
  );
});

function Coloured({ code, language, badLine, limit }: Omit<Props, "settled"> & { limit: number | null }) {
  const highlighter = useHighlighter();
  const lines = useMemo(
    () => splitLines(highlighter?.highlight(code, language) ?? escapeHtml(code)),
    [highlighter, code, language],
  );
  const shown = limit === null ? lines : lines.slice(0, limit);
  if (!badLine || badLine > shown.length) {
    return <pre className="code" dangerouslySetInnerHTML={{ __html: shown.join("\n") }} />;
  }
  return (
    <pre className="code">
      <span dangerouslySetInnerHTML={{ __html: shown.slice(0, badLine - 1).join("\n") }} />
      <span className="bad-line" dangerouslySetInnerHTML={{ __html: shown[badLine - 1]! }} />
      <span dangerouslySetInnerHTML={{ __html: shown.slice(badLine).join("\n") }} />
    </pre>
  );
}
