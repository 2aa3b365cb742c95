import katex from "katex";
import "katex/dist/katex.min.css";

/**
 * HTML of the formula, made by KaTeX alone (`trust` off: no links, no foreign markup); null when it is not valid TeX.
 * Not to be used as it is: styles are in `data-style`, see `show`.
 */
export function render(tex: string, display: boolean): string | null {
  try {
    const html = katex.renderToString(tex, { displayMode: display, throwOnError: true, trust: false, strict: false, maxExpand: 500 });
    return html.replaceAll(' style="', ' data-style="'); // KaTeX escapes quotes in all that is not markup
  } catch {
    return null;
  }
}

/**
 * Fills `element` with what `render` made. The page's policy forbids style attributes, whoever writes them (KaTeX's own
 * `render` writes some, for \vec and \pmb); the properties of an element's `style` it allows.
 */
export function show(element: HTMLElement, html: string): void {
  element.innerHTML = html;
  for (const styled of element.querySelectorAll<HTMLElement | SVGElement>("[data-style]")) {
    styled.style.cssText = styled.getAttribute("data-style")!;
    styled.removeAttribute("data-style");
  }
}
