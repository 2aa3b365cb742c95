import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, cells, composer, eventually, lastTurn, send, stopButton, withPage } from "./browser.mjs";

const here = withPage();

async function stopped(page) {
  await page.locator('.turn[data-outcome="stopped"]').last().waitFor();
  assert.match(await lastTurn(page).getByRole("group", { name: "How this ended" }).innerText(), /stopped/i);
}

test("Stop while the model is silent ends the turn, and the next message works", async () => {
  const { page } = here;
  await send(page, "hang");
  await stopButton(page).click();
  await stopped(page);
  await ask(page, "hello again");
  assert.match(await lastTurn(page).innerText(), /hello again$/);
});

test("Stop while text is written keeps what was written", async () => {
  const { page } = here;
  await send(page, `slowly ${"one two three ".repeat(200)}`);
  await lastTurn(page).locator(".markdown", { hasText: "one two three" }).waitFor();
  await stopButton(page).click();
  await stopped(page);
  assert.match(await lastTurn(page).locator(".markdown").innerText(), /one two/);
});

test("Esc pressed twice interrupts running code", async () => {
  const { page } = here;
  await send(page, "run import time\nprint('begun', flush=True)\ntime.sleep(60)");
  await cells(page).last().getByText("begun").waitFor();
  await composer(page).press("Escape");
  await page.getByText("Press Esc again to stop").waitFor();
  await composer(page).press("Escape");
  await stopped(page);
  assert.match(await cells(page).last().getAttribute("aria-label"), /Interrupted/);
  await ask(page, "run print('still', 'here')");
  assert.match(await cells(page).last().locator(".out").innerText(), /still here/);
});

test("while a turn is open nothing can be sent, and the draft is kept", async () => {
  const { page } = here;
  await send(page, "hang");
  await stopButton(page).waitFor();
  await send(page, "meanwhile");
  assert.equal(await composer(page).inputValue(), "meanwhile");
  assert.equal(await page.locator(".you").count(), 1);
  await stopButton(page).click();
  await stopped(page);
  await eventually(async () => assert.equal(await composer(page).inputValue(), "meanwhile"));
});
