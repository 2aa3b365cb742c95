import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, eventually, lastTurn, run, withPage } from "./browser.mjs";

const here = withPage();

const EVIL = `from IPython.display import HTML
HTML("""<p id=a>?</p><p id=b>?</p><p id=c>?</p><script>
const say = (id, text) => { document.getElementById(id).textContent = text };
try { say('a', 'read ' + parent.document.title) } catch (error) { say('a', 'refused') }
try { say('b', 'read ' + localStorage.length) } catch (error) { say('b', 'refused') }
fetch('/api/conversations').then(() => say('c', 'fetched'), () => say('c', 'refused'));
top.location = 'about:blank';
</script>""")`;

test("HTML output can draw and run, and reach neither the page nor the server", async () => {
  const { page } = here;
  const address = page.url();
  const cell = await run(page, EVIL);
  const frame = cell.locator("iframe");
  assert.equal(await frame.getAttribute("sandbox"), "allow-scripts");
  const inside = cell.frameLocator("iframe");
  await eventually(async () => {
    for (const id of ["a", "b", "c"]) assert.equal(await inside.locator(`#${id}`).innerText(), "refused");
  });
  assert.equal(new URL(page.url()).origin, new URL(address).origin);
  here.errors = [];
});

test("a table of pandas looks like ours and takes the room it needs", async () => {
  const { page } = here;
  const cell = await run(page, "import pandas as pd\npd.DataFrame({'a': range(8), 'b': list('abcdefgh')})");
  const frame = cell.locator("iframe");
  const inside = cell.frameLocator("iframe");
  await eventually(async () => {
    const content = await inside.locator("body").evaluate((body) => body.getBoundingClientRect().height);
    const given = await frame.evaluate((element) => element.getBoundingClientRect().height);
    assert.ok(content > 150 && Math.abs(given - content) <= 17, `${given} for ${content}`);
  });
  assert.equal(await inside.locator("td").first().evaluate((cell) => getComputedStyle(cell).textAlign), "right");
});

test("what the model writes never becomes markup of the page", async () => {
  const { page } = here;
  await ask(page, 'see <img src=x onerror="document.title=1"> and <script>document.title = 2</script> and [this](javascript:alert(1))');
  assert.equal(await lastTurn(page).locator(".markdown img, .markdown script, .markdown a").count(), 0);
});

test("what code prints never becomes markup of the page", async () => {
  const { page } = here;
  const out = (await run(page, "print('\\x1b[31m<b>red</b>\\x1b[0m')")).locator(".out");
  assert.equal((await out.innerText()).trim(), "<b>red</b>");
  assert.equal(await out.locator(".ansi-fg-red").count(), 1);
});

test("formulas keep their sizes and places, though the page allows no inline style", async () => {
  const { page } = here;
  await ask(page, String.raw`$$\vec{v} = \pmb{x} + \frac{\sqrt{a^2}}{\cancel{b}} \text{ style="color:red"}$$`);
  const formula = lastTurn(page).locator(".katex");
  await formula.waitFor();
  const struts = await formula.locator(".katex-strut").evaluateAll((all) => all.map((span) => span.getBoundingClientRect().height));
  assert.ok(struts.length > 1 && Math.min(...struts) > 5 && Math.max(...struts) > 20, `struts of ${struts} px`);
  assert.ok((await formula.locator("svg").count()) >= 2, "the root and the arrow are drawn");
  assert.match(await formula.locator(".katex-html").innerText(), /style="color:red"/);
  const policy = (await page.request.get(here.url + "/")).headers()["content-security-policy"];
  assert.doesNotMatch(policy, /unsafe/);
  await page.evaluate(() => document.body.setAttribute("style", "color: red"));
  assert.match(here.errors.pop(), /Content Security Policy/, "what violates the policy would have been seen");
});
