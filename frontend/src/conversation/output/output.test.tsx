import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import type { Output } from "../../protocol";
import { colours, plain, spans } from "./ansi";
import { clip } from "./clip";
import { guessHeight, heightIn } from "./frame";
import { pick } from "./mime";
import { Outputs } from "./Outputs";
import { badLine } from "./traceback";

const html = (...outputs: Output[]) => renderToStaticMarkup(<Outputs outputs={outputs} />);
const text = (content: string, name: "stdout" | "stderr" = "stdout"): Output => ({ kind: "text", name, text: content, late: false });
const rich = (data: Record<string, unknown>): Output => ({ kind: "rich", data, metadata: {}, display_id: null });

describe("terminal colours", () => {
  it("become spans, and end where they end", () => {
    expect(spans("a \x1b[1;31mred\x1b[0m b")).toMatchObject([
      { text: "a ", classes: "" },
      { text: "red", classes: "ansi-fg-red ansi-bold" },
      { text: " b", classes: "" },
    ]);
  });

  it("know the palette and true colour", () => {
    expect(spans("\x1b[38;5;196mx\x1b[48;2;1;2;3my")).toMatchObject([{ color: "#ff0000" }, { color: "#ff0000", background: "#010203" }]);
  });

  it("leave out every other sequence", () => {
    expect(plain("a\x1b[2Kb\x1b]0;title\x07c\x1b[?25ld")).toBe("abcd");
    expect(spans("a\x1b[10;20Hb").map((span) => span.text).join("")).toBe("ab");
  });

  it("go on after a cut", () => {
    expect(colours("x \x1b[32mgreen")).toBe("\x1b[32m");
    expect(colours("\x1b[32mgreen\x1b[0m")).toBe("\x1b[0m");
  });

  it("are never markup", () => {
    expect(html(text("\x1b[31m<img src=x onerror=alert(1)>\x1b[0m"))).toContain("&lt;img");
  });
});

describe("long output", () => {
  const lines = (n: number) => Array.from({ length: n }, (_, i) => `line ${i}\n`).join("");

  it("shows its beginning and its end, and counts the rest", () => {
    const cut = clip(lines(1000));
    expect(cut.lines).toBe(1000);
    expect(cut.head.split("\n").at(-1)).toBe("line 9");
    expect(cut.tail.startsWith("line 990\n")).toBe(true);
    expect(cut.head + cut.middle + cut.tail).toBe(lines(1000));
    expect(html(text(lines(1000)))).toContain("show all (1,000 lines)");
  });

  it("is whole when it is short", () => expect(clip(lines(22)).middle).toBe(""));

  it("is cut within a line that does not end", () => {
    const cut = clip("x".repeat(1_000_000));
    expect(cut.head.length + cut.tail.length).toBeLessThan(20_000);
    expect(cut.middle.length).toBeGreaterThan(900_000);
  });
});

describe("mime bundles", () => {
  it("show the richest form", () => {
    const all: [string, unknown, string][] = [
      ["text/html", "<p>", "html"],
      ["image/svg+xml", "<svg/>", "image"],
      ["image/png", "aGk=", "image"],
      ["image/jpeg", "aGk=", "image"],
      ["text/latex", "$x$", "latex"],
      ["text/markdown", "*x*", "markdown"],
      ["application/json", { a: 1 }, "json"],
      ["text/plain", "x", "text"],
    ];
    for (let from = 0; from < all.length; from++) {
      const data = Object.fromEntries(all.slice(from).map(([type, content]) => [type, content]));
      expect(pick(data, {}).kind).toBe(all[from]![2]);
    }
  });

  it("keep the place of a picture before it is there", () => {
    const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAACCAIAAACkMPFEAAAADUlEQVR4nGP4z8DAwAAABAABXvMUwgAAAABJRU5ErkJggg==";
    expect(pick({ "image/png": png }, {})).toMatchObject({ width: 1, height: 2 });
    expect(html(rich({ "image/png": png }))).toContain('width="1" height="2"');
  });

  it("show SVG as a picture, in which no script runs", () => {
    expect(html(rich({ "image/svg+xml": "<svg onload='x'/>" }))).toMatch(/<img[^>]* src="data:image\/svg\+xml;charset=utf-8,%3Csvg/);
  });

  it("say what they are when nothing can show them", () => {
    expect(html(rich({ "application/x-odd": 1 }))).toContain("application/x-odd");
  });

  it("take the dollars off LaTeX", () => {
    expect(pick({ "text/latex": "$\\displaystyle x$" }, {})).toEqual({ kind: "latex", tex: "\\displaystyle x" });
  });
});

describe("HTML output", () => {
  const evil = rich({ "text/html": '<script>parent.document.title = "mine"</script><b>hi</b>' });

  it("lives in a frame that may run scripts and has no origin of ours", () => {
    const markup = html(evil);
    expect(markup).toMatch(/<iframe[^>]* sandbox="allow-scripts"/);
    expect(markup).not.toContain("allow-same-origin");
    expect(markup).not.toContain("<b>hi</b>");
    expect(markup).not.toContain("<script");
  });

  it("may tell its height, within reason, and nothing else", () => {
    expect(heightIn({ type: "output-height", height: 12.2 })).toBe(13);
    expect(heightIn({ type: "output-height", height: 1e9 })).toBe(20_000);
    for (const odd of [null, 5, "x", {}, { type: "output-height", height: "9" }, { type: "other", height: 9 }, { type: "output-height", height: NaN }]) {
      expect(heightIn(odd)).toBeNull();
    }
  });

  it("is given about the room it will need", () => expect(guessHeight("<table><tr><tr><tr></table>")).toBe(92));
});

describe("an exception", () => {
  const traceback = "\x1b[36mCell\x1b[39m \x1b[32mIn[3]\x1b[39m\x1b[32m, line 4\x1b[39m\n----> 4 f('x')\n\nCell In[1], line 2, in f(k)\n      2 return d[k]\n\nKeyError: 'x'";

  it("is its name and message; the traceback is there for those who ask", () => {
    const markup = html({ kind: "error", ename: "KeyError", evalue: "'x'", traceback });
    expect(markup).toContain("<b>KeyError</b>: &#x27;x&#x27;");
    expect(markup).toContain("Show traceback");
    expect(markup).not.toContain("---&gt;");
  });

  it("points to the line of this cell's own code", () => {
    expect(badLine(traceback, 3)).toBe(4);
    expect(badLine(traceback, 9)).toBeNull();
    expect(badLine("no frames", 1)).toBeNull();
  });
});
