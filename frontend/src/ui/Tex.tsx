import { memo, useCallback } from "react";
import { lazily } from "./lazy";

const useKatex = lazily(() => import("./katex"));

/** TeX as mathematics; as its source until KaTeX has loaded, and where it is not valid. */
export const Tex = memo(function Tex({ tex, display }: { tex: string; display: boolean }) {
  const katex = useKatex();
  const html = katex?.render(tex, display) ?? null;
  const show = katex?.show;
  const filled = useCallback((element: HTMLElement | null) => void (element && html !== null && show?.(element, html)), [html, show]);
  if (html === null) return <code className="tex-source">{tex}</code>;
  return display ? <div className="tex-display" ref={filled} /> : <span className="tex" ref={filled} />;
});
