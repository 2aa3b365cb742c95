/** The one form of a mime bundle that is shown. */
export type Form =
  | { kind: "html"; html: string }
  | { kind: "image"; source: string; width: number | null; height: number | null }
  | { kind: "latex"; tex: string }
  | { kind: "markdown"; text: string }
  | { kind: "json"; text: string }
  | { kind: "text"; text: string };

type Bundle = Record<string, unknown>;

/** The richest form first: a table before a picture of it, a picture before its description. */
export function pick(data: Bundle, metadata: Bundle): Form {
  return html(data) ?? svg(data) ?? bitmap(data, metadata) ?? latex(data) ?? markdown(data) ?? json(data) ?? text(data);
}

/** Jupyter may send text as a list of lines. */
function joined(value: unknown): string | null {
  if (typeof value === "string") return value;
  return Array.isArray(value) && value.every((line) => typeof line === "string") ? value.join("") : null;
}

function html(data: Bundle): Form | null {
  const content = joined(data["text/html"]);
  return content === null ? null : { kind: "html", html: content };
}

function svg(data: Bundle): Form | null {
  const content = joined(data["image/svg+xml"]);
  if (content === null) return null;
  return { kind: "image", source: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(content)}`, width: null, height: null };
}

function bitmap(data: Bundle, metadata: Bundle): Form | null {
  for (const type of ["image/png", "image/jpeg"]) {
    const content = joined(data[type])?.replace(/\s/g, "");
    if (!content) continue;
    const size = sizeIn(metadata[type]) ?? (type === "image/png" ? pngSize(content) : null);
    return { kind: "image", source: `data:${type};base64,${content}`, width: size?.width ?? null, height: size?.height ?? null };
  }
  return null;
}

interface Size {
  width: number;
  height: number;
}

function sizeIn(metadata: unknown): Size | null {
  const { width, height } = (metadata ?? {}) as Partial<Size>;
  return typeof width === "number" && typeof height === "number" ? { width, height } : null;
}

/** A PNG names its size in its first bytes; known beforehand, the page keeps the place and does not jump. */
function pngSize(base64: string): Size | null {
  try {
    const bytes = atob(base64.slice(0, 44));
    const number = (at: number) => [0, 1, 2, 3].reduce((sum, i) => sum * 256 + bytes.charCodeAt(at + i), 0);
    return bytes.slice(1, 4) === "PNG" ? { width: number(16), height: number(20) } : null;
  } catch {
    return null;
  }
}

function latex(data: Bundle): Form | null {
  const content = joined(data["text/latex"]);
  return content === null ? null : { kind: "latex", tex: bare(content) };
}

/** Jupyter's LaTeX comes with its dollars; KaTeX wants it without. */
function bare(tex: string): string {
  const trimmed = tex.trim();
  const match = /^(\$\$|\$|\\\[)([\s\S]*?)(\$\$|\$|\\\])$/.exec(trimmed);
  return match ? match[2]!.trim() : trimmed;
}

function markdown(data: Bundle): Form | null {
  const content = joined(data["text/markdown"]);
  return content === null ? null : { kind: "markdown", text: content };
}

function json(data: Bundle): Form | null {
  const type = Object.keys(data).find((name) => name === "application/json" || name.endsWith("+json"));
  return type === undefined ? null : { kind: "json", text: JSON.stringify(data[type], null, 2) };
}

function text(data: Bundle): Form {
  const content = joined(data["text/plain"]);
  if (content !== null) return { kind: "text", text: content };
  const types = Object.keys(data).join(", ");
  return { kind: "text", text: types ? `An output of a kind that is not shown here (${types}).` : "An empty output." };
}
