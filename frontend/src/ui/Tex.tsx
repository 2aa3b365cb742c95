import { memo } from "react";
import { lazily } from "./lazy";

const useKatex = lazily(() => import("./katex"));

/** TeX as mathematics; as its source until KaTeX has loaded, and where it is not valid. */
export const Tex = memo(function Tex({ tex, display }: { tex: string; display: boolean }) {
  const katex = useKatex();
  const html = katex?.render(tex, display) ?? null;
  if (html === null) return <code className="tex-source">{tex}</code>;
  const Tag = display ? "div" : "span";
  return <Tag className={display ? "tex-display" : "tex"} dangerouslySetInnerHTML={{ __html: html }} />;
});
