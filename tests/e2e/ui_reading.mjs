import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, cells, composer, eventually, send, withPage } from "./browser.mjs";

const here = withPage();
const LONG = "run import time\nfor i in range(60):\n    print('#' * 60, i, flush=True); time.sleep(0.05)";
const left = (page) => page.locator(".scroll").evaluate((node) => node.scrollHeight - node.clientHeight - node.scrollTop);

test("the end stays in sight, until the reader scrolls up; then nothing moves", async () => {
  const { page } = here;
  await ask(page, "line\n\n".repeat(40));
  assert.ok((await left(page)) < 5);
  await send(page, `slowly ${"word word word\n\n".repeat(60)}`);
  await page.locator(".turn").nth(1).locator("p").nth(8).waitFor();
  assert.ok((await left(page)) < 60);
  await page.mouse.move(600, 400);
  await page.mouse.wheel(0, -400);
  const pill = page.getByRole("button", { name: "New output" });
  await pill.waitFor();
  const at = await page.locator(".scroll").evaluate((node) => node.scrollTop);
  await page.locator(".turn").nth(1).locator("p").nth(20).waitFor();
  assert.equal(await page.locator(".scroll").evaluate((node) => node.scrollTop), at);
  await pill.click();
  await eventually(async () => assert.ok((await left(page)) < 60));
  await page.locator('.turn[data-state="closed"]').nth(1).waitFor();
  assert.ok((await left(page)) < 5);
});

test("focus is never taken from the composer, and changes of state are announced", async () => {
  const { page } = here;
  await send(page, LONG);
  await composer(page).fill("writing on");
  await cells(page).first().getByText("# 30").waitFor();
  assert.equal(await composer(page).evaluate((node) => node === document.activeElement), true);
  const status = page.locator('.unseen[role="status"]');
  assert.equal(await status.innerText(), "Running");
  await page.locator('.turn[data-state="closed"]').waitFor();
  await eventually(async () => assert.equal(await status.innerText(), "Answer complete"));
  assert.equal(await composer(page).inputValue(), "writing on");
});

test("everything can be reached with the keyboard", async () => {
  const { page } = here;
  await ask(page, "run 1 / 0");
  const names = new Set();
  for (let n = 0; n < 25; n++) {
    await page.keyboard.press("Tab");
    names.add(await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? ""));
  }
  const reached = [...names].join("|");
  for (const wanted of [/New conversation/, /Theme/, /Copy code/, /Show traceback/]) assert.match(reached, wanted);
});

test("the theme is chosen by hand or by the system, and does not flash", async () => {
  const { page } = here;
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  await page.emulateMedia({ colorScheme: "dark" });
  await eventually(async () => assert.equal(await theme(), "dark"));
  await page.getByRole("button", { name: /^Theme: system/ }).click();
  assert.equal(await theme(), "light");
  await page.reload({ waitUntil: "commit" });
  await eventually(async () => assert.equal(await theme(), "light"));
});
