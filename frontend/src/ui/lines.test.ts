import { expect, it } from "vitest";
import { highlight } from "./highlighter";
import { splitLines } from "./lines";

it("keeps colours that run over several lines", () => {
  const lines = splitLines(highlight('x = """a\nb <b>\n"""\ny = 1', "python")!);
  expect(lines.length).toBe(4);
  for (const line of lines) expect(line.match(/<span/g)?.length ?? 0).toBe(line.match(/<\/span>/g)?.length ?? 0);
  expect(lines[1]).toBe('<span class="hljs-string">b &lt;b&gt;</span>');
});

it("does not colour what it does not know", () => expect(highlight("x", "klingon")).toBeNull());
