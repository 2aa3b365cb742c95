import { memo, useCallback, useEffect, useRef, useState } from "react";
import { useTheme } from "../../ui/theme";
import { fill, FRAME, guessHeight, heightIn, tellTheme } from "./frame";

/** Taller outputs are shown in part, with a button for the rest. */
const FOLDED = 440;

/** HTML that code produced, in a frame that can reach neither this page nor the network. */
export const HtmlFrame = memo(function HtmlFrame({ html }: { html: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const theme = useTheme();
  const [height, setHeight] = useState(() => guessHeight(html));
  const [whole, setWhole] = useState(false);

  useEffect(() => {
    const heard = (event: MessageEvent) => {
      // Any frame may send anything: only our own counts, and only a number.
      if (event.source !== frame.current?.contentWindow) return;
      const told = heightIn(event.data);
      if (told !== null) setHeight(told);
    };
    addEventListener("message", heard);
    return () => removeEventListener("message", heard);
  }, []);

  const show = useCallback(() => {
    const target = frame.current?.contentWindow;
    if (target) fill(target, html, document.documentElement.dataset["theme"] === "dark" ? "dark" : "light");
  }, [html]);
  useEffect(show, [show]);
  useEffect(() => {
    if (frame.current?.contentWindow) tellTheme(frame.current.contentWindow, theme);
  }, [theme]);

  const tall = height > FOLDED + 40;
  return (
    <div className="html-output">
      <iframe {...FRAME} ref={frame} title="HTML output" onLoad={show} style={{ height: tall && !whole ? FOLDED : height }} />
      {tall && (
        <button type="button" className="more" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? "show less" : "show all"}
        </button>
      )}
    </div>
  );
});
