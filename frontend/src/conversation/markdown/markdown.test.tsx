import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { BlockReader } from "./blocks";
import { lex } from "./lexer";
import { Markdown } from "./Markdown";
import { mend } from "./mend";

const SAMPLE = `# Title

A paragraph with **bold**, *emphasis*, \`code\` and $x^2$.
It goes on.

- one
- two

  still two
- three

1. first
2. second

| a | b |
|---|---|
| 1 | 2 |

\`\`\`python
x = 1

# not a heading
\`\`\`

$$
\\frac{1}{2}
+ 1
$$

> quoted

Setext
------

- [x] done

The end [link][ref].

[ref]: https://example.org
`;

const html = (text: string, done = true) => renderToStaticMarkup(<Markdown text={text} done={done} />);

/** Text in pieces of pseudo-random length, so that a failure can be repeated. */
function* pieces(text: string, seed: number): Generator<string> {
  for (let at = 0; at < text.length; ) {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    const size = 1 + (seed % 12);
    at += size;
    yield text.slice(0, at);
  }
}

describe("growing Markdown", () => {
  it("ends as the same page however it was cut", () => {
    const whole = new BlockReader().read(SAMPLE, true).map(({ raw }) => raw);
    for (let seed = 1; seed <= 40; seed++) {
      const reader = new BlockReader();
      for (const part of pieces(SAMPLE, seed)) reader.read(part, false);
      const grown = reader.read(SAMPLE, false);
      expect(grown.map(({ raw }) => raw).join("")).toBe(SAMPLE);
      expect(reader.read(SAMPLE, true).map(({ raw }) => raw)).toEqual(whole);
      expect(grown.map(({ token }) => token.type)).toEqual(lex(SAMPLE).filter(({ type }) => type !== "space").map(({ type }) => type));
    }
  });

  it("keeps settled blocks as the same objects, to the end", () => {
    const text = "First.\n\nSecond.\n\nThird.";
    const reader = new BlockReader();
    const before = reader.read("First.\n\nSecond.\n\nTh", false);
    const after = reader.read(text, false);
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(reader.read(text, true)[0]).toBe(before[0]);
  });

  it("starts over when the text is another one", () => {
    const reader = new BlockReader();
    reader.read("One.\n\nTwo.\n\nThree.", false);
    expect(reader.read("Other.\n\nText.", false).map(({ raw }) => raw)).toEqual(["Other.\n\n", "Text."]);
  });

  it("lexes only the tail: the last of many words costs as little as the first", () => {
    const reader = new BlockReader();
    const text = "A paragraph of some words.\n\n".repeat(400);
    const began = performance.now();
    for (let at = 0; at < text.length; at += 40) reader.read(text.slice(0, at), false);
    expect(performance.now() - began).toBeLessThan(1500);
  });

  it("shows emphasis that is still open as emphasis", () => {
    expect(mend("a **bold")).toBe("a **bold**");
    expect(mend("a **")).toBe("a ");
    expect(mend("some `code")).toBe("some `code`");
    expect(mend("`a ** b` and **c**")).toBe("`a ** b` and **c**");
    expect(html("a **bold", false)).toContain("<strong>bold</strong>");
  });
});

describe("Markdown", () => {
  it("never becomes markup of the page", () => {
    const evil = html('<img src=x onerror="alert(1)">\n\n<script>alert(1)</script>\n\na <b onclick="x">b</b> [l](javascript:alert(1)) ![i](https://evil.example/x.png)');
    expect(evil).not.toMatch(/<img|<script|<b |javascript:/);
    expect(evil).toContain("&lt;script&gt;");
  });

  it("opens links elsewhere, without saying where from", () => {
    expect(html("[a](https://example.org)")).toContain('<a href="https://example.org" target="_blank" rel="noopener noreferrer">a</a>');
  });

  it("reads money as money and math as math", () => {
    expect(html("It costs $5 and $6.")).toContain("It costs $5 and $6.");
    expect(html("so $x^2$ and \\(y\\)")).toContain('<code class="tex-source">x^2</code> and <code class="tex-source">y</code>');
    expect(lex("$$\na\n$$\n")[0]).toMatchObject({ type: "math", tex: "a", display: true });
  });

  it("draws tables, tasks and nested lists", () => {
    expect(html("| a | b |\n|:--|--:|\n| 1 | 2 |")).toContain('<td style="text-align:right">2</td>');
    expect(html("- [x] done")).toContain('type="checkbox"');
    expect(html("3. c\n   - d")).toMatch(/<ol start="3".*<ul>/);
  });
});
