import monoFont from "@fontsource/ibm-plex-mono/files/ibm-plex-mono-latin-400-normal.woff2?url";

/**
 * HTML that code produced may hold anything, so it never becomes part of this page. It is shown by `/frame.html` in a
 * frame with an origin of its own (`allow-scripts` without `allow-same-origin`), under a policy that lets it fetch
 * nothing. It may draw, and say how tall it is.
 */
export const FRAME = { src: "/frame.html", sandbox: "allow-scripts", referrerPolicy: "no-referrer" } as const;

export type Theme = "light" | "dark";

let font: Promise<ArrayBuffer | null> | null = null;

/** The page's own font: the frame can fetch nothing, so it is handed over. */
function fetchFont(): Promise<ArrayBuffer | null> {
  font ??= fetch(monoFont).then(
    (answer) => (answer.ok ? answer.arrayBuffer() : null),
    () => null,
  );
  return font;
}

/** Hands a loaded frame what to show. Its origin is opaque, so no target origin can be named. */
export function fill(frame: Window, html: string, theme: Theme): void {
  tellTheme(frame, theme);
  frame.postMessage({ type: "output-html", html }, "*");
  void fetchFont().then((bytes) => bytes && frame.postMessage({ type: "output-font", font: bytes }, "*"));
}

export function tellTheme(frame: Window, theme: Theme): void {
  frame.postMessage({ type: "output-theme", theme }, "*");
}

const ROW = 28;
const TALLEST_GUESS = 420;

/** A first height in pixels, until the frame has said its own: a table's rows, or a few lines. */
export function guessHeight(html: string): number {
  const rows = html.match(/<tr[\s>]/g)?.length ?? 0;
  return Math.min(TALLEST_GUESS, rows > 0 ? rows * ROW + 8 : 60);
}

const TALLEST = 20_000;

/** The height a frame tells, or null when the message is anything else. */
export function heightIn(message: unknown): number | null {
  const { type, height } = (message ?? {}) as { type?: unknown; height?: unknown };
  if (type !== "output-height" || typeof height !== "number" || !Number.isFinite(height)) return null;
  return Math.min(TALLEST, Math.max(0, Math.ceil(height)));
}
