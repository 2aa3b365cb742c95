import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, cells, composer, lastTurn, run, send, stopButton, withPage } from "./browser.mjs";

const here = withPage();

test("a message runs code in the sandbox and is answered", async () => {
  const { page } = here;
  const cell = await run(page, "# six times seven\nprint(6 * 7)");
  assert.match(await cell.locator(".head").innerText(), /Done[^]*six times seven[^]*In \[1\]/);
  assert.equal((await cell.locator(".out").innerText()).trim(), "42");
  assert.match(await lastTurn(page).innerText(), /Done\.$/);
  assert.match(page.url(), /\/c\/[0-9a-f]{32}$/);
  assert.match(await page.locator(".kern").innerText(), /kernel idle/);
});

test("output appears while the code still runs, and variables stay", async () => {
  const { page } = here;
  await run(page, "x = 5");
  await send(page, "run import time\nfor i in range(40):\n    print('line', x + i, flush=True); time.sleep(0.1)");
  const cell = cells(page).last();
  await cell.getByText("line 7").waitFor();
  assert.match(await cell.getAttribute("aria-label"), /Running/);
  await stopButton(page).waitFor();
  await page.locator('.turn[data-state="closed"]').nth(1).waitFor();
  assert.match(await cell.getByRole("button", { name: /show all \(40 lines\)/ }).innerText(), /40/);
});

test("Markdown, code and formulas are set while they stream", async () => {
  const { page } = here;
  await ask(page, "**bold** and $x^2$\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n- one\n- two");
  const answer = lastTurn(page).locator(".markdown");
  assert.equal(await answer.locator("strong").innerText(), "bold");
  await answer.locator(".katex").first().waitFor();
  assert.equal(await answer.locator("td").count(), 2);
  assert.equal(await answer.locator("li").count(), 2);
});

test("figures are pictures, exceptions are words first", async () => {
  const { page } = here;
  const figure = await run(page, "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); plt.show()");
  const picture = figure.getByRole("img", { name: /Output/ });
  assert.ok(await picture.evaluate((image) => image.naturalWidth > 100 && image.hasAttribute("height")));
  const cell = await run(page, "a = {}\na['region']", "error");
  assert.equal(await cell.locator(".raised").innerText(), "KeyError: 'region'");
  assert.equal(await cell.locator(".bad-line").innerText(), "a['region']");
  assert.equal(await cell.locator(".traceback").count(), 0);
  await cell.getByRole("button", { name: "Show traceback" }).click();
  assert.match(await cell.locator(".traceback").innerText(), /Traceback \(most recent call last\)/);
});

test("files of a cell are named below it", async () => {
  const { page } = here;
  const cell = await run(page, "open('out.txt', 'w').write('hi')");
  assert.equal(await cell.getByRole("list", { name: "Files" }).innerText(), "+ out.txt");
});

test("a turn that ends early says why, and can go on", async () => {
  const { page } = here;
  await ask(page, "fail");
  const ending = page.getByRole("group", { name: "How this ended" });
  assert.doesNotMatch(await ending.innerText(), /Traceback|undefined|null/);
  await ending.getByRole("button", { name: "Continue" }).click();
  await page.locator(".turn").nth(1).waitFor();
  assert.equal(await composer(page).isEnabled(), true);
});

test("code that was cut off is shown and never run", async () => {
  const { page } = here;
  await ask(page, "cut");
  assert.match(await cells(page).first().getAttribute("aria-label"), /Not run: the code was cut off/);
});
