import { expect, test } from "vitest";
import { render } from "./katex";

test("a formula is written without style attributes, which the page's policy forbids", () => {
  const html = render(String.raw`\vec{v} + \pmb{x} + \frac{\sqrt{a}}{\cancel{b}}`, true)!;
  expect(html).toContain(" data-style=");
  expect(html).not.toMatch(/\sstyle=/);
});

test("what a formula says of styles is text", () => {
  const html = render(String.raw`\text{ style="x"} \text{<b style="x">}`, false)!;
  expect(html).not.toMatch(/style="x"/);
  expect(html).not.toContain("<b");
});

test("what is not TeX, or wants foreign markup, is not rendered", () => {
  expect(render(String.raw`\frac{`, false)).toBeNull();
  expect(render(String.raw`\htmlStyle{color:red}{x}`, false)).not.toMatch(/style="color:\s*red/);
});
