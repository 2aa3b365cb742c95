import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, cells, composer, eventually, seen, send, stopButton, withPage } from "./browser.mjs";

const here = withPage();
const COUNT = "run import time\nfor i in range(30):\n    print('tick', i, flush=True); time.sleep(0.1)";

test("a reload in the middle of everything shows the same and goes on", async () => {
  const { page } = here;
  await send(page, COUNT);
  await cells(page).last().getByText("tick 5").waitFor();
  await page.reload();
  await stopButton(page).waitFor();
  await page.locator('.turn[data-state="closed"]').waitFor();
  const before = await seen(page);
  await page.reload();
  await page.locator('.turn[data-state="closed"]').waitFor();
  assert.deepEqual(await seen(page), before);
  assert.equal(await cells(page).count(), 1);
});

test("a second tab sees everything, the question included", async () => {
  const { page } = here;
  await ask(page, "hello");
  const second = await here.open(new URL(page.url()).pathname);
  await second.locator('.turn[data-state="closed"]').waitFor();
  await send(page, COUNT);
  await cells(second).last().getByText("tick 3").waitFor();
  await stopButton(second).click();
  await page.locator('.turn[data-outcome="stopped"]').waitFor();
  await eventually(async () => assert.deepEqual(await seen(second), await seen(page)));
});

test("a connection dropped again and again loses nothing", async () => {
  const sockets = [];
  const { context, url } = here;
  const page = await context.newPage();
  await page.routeWebSocket(/\/ws$/, (socket) => {
    const server = socket.connectToServer();
    sockets.push({ socket, server });
  });
  await page.goto(url);
  await send(page, "slowly " + Array.from({ length: 150 }, (_, n) => `word${n}`).join(" "));
  for (let n = 10; n <= 130; n += 40) {
    await page.locator(".markdown").getByText(`word${n} `).waitFor();
    const { socket, server } = sockets.at(-1);
    await server.close();
    await socket.close({ code: 1011 });
    await page.evaluate(() => dispatchEvent(new Event("online")));
  }
  await page.locator('.turn[data-state="closed"]').waitFor();
  assert.ok(sockets.length >= 4);
  const text = await page.locator(".markdown").innerText();
  assert.equal(text.trim(), Array.from({ length: 150 }, (_, n) => `word${n}`).join(" "));
});

test("a message sent while there is no connection is delivered once there is", async () => {
  const { context, url } = here;
  const page = await context.newPage();
  let open = true;
  let current = null;
  await page.routeWebSocket(/\/ws$/, (socket) => {
    if (!open) return void socket.close({ code: 1011 });
    current = { socket, server: socket.connectToServer() };
  });
  await page.goto(url);
  await ask(page, "hello");
  open = false;
  await current.server.close();
  await current.socket.close({ code: 1011 });
  await page.getByText(/Reconnecting…/).waitFor();
  await send(page, "are you there");
  await page.getByText("sending…").waitFor();
  open = true;
  await page.getByRole("button", { name: "Try now" }).click();
  await page.locator('.turn[data-state="closed"]').nth(1).waitFor();
  assert.equal(await page.getByText("are you there").count(), 2);
});

test("the page says so while the server cannot tell it what happens, and works all the same", async () => {
  const { context, url } = here;
  const page = await context.newPage();
  let current = null;
  await page.routeWebSocket(/\/ws$/, (socket) => {
    current = socket;
    socket.connectToServer();
  });
  await page.goto(url);
  await ask(page, "hello");
  const deliver = (live) => current.send(JSON.stringify({ type: "delivery", live }));
  deliver(false);
  await page.getByText(/Reconnecting…/).waitFor();
  assert.equal(await page.getByRole("button", { name: "Try now" }).count(), 0);
  await send(page, "are you there");
  await page.locator('.turn[data-state="closed"]').nth(1).waitFor();
  deliver(true);
  await page.getByText(/Reconnecting…/).waitFor({ state: "detached" });
});

test("a draft outlives a reload", async () => {
  const { page } = here;
  await ask(page, "hello");
  await composer(page).fill("half a thought");
  await page.reload();
  await eventually(async () => assert.equal(await composer(page).inputValue(), "half a thought"));
});
