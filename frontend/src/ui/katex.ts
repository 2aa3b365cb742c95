import katex from "katex";
import "katex/dist/katex.min.css";

/** HTML of the formula, made by KaTeX alone (`trust` off: no links, no foreign markup); null when it is not valid TeX. */
export function render(tex: string, display: boolean): string | null {
  try {
    return katex.renderToString(tex, { displayMode: display, throwOnError: true, trust: false, strict: false, maxExpand: 500 });
  } catch {
    return null;
  }
}
