// What the browser tests share. Each `ui_*.mjs` is run by node with the chat's address in CODEACT_URL.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, beforeEach, afterEach } from "node:test";

const require = createRequire(new URL("../../frontend/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run",
];
const URL_ = process.env.CODEACT_URL;
/** The cookie of somebody who has signed in, where the server has accounts. */
const LOGIN = process.env.CODEACT_LOGIN;
const LONG = 30_000;

/** Debian's browser. */
export function started() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A browser for the file, a fresh context and page for each test; errors of the page fail the test. */
export function withPage(options = {}) {
  const here = { url: URL_, page: null, context: null, browser: null, errors: [] };
  before(async () => {
    here.browser = await started();
  });
  after(() => here.browser.close());
  beforeEach(async () => {
    here.context = await here.browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    if (LOGIN) await here.context.addCookies([{ name: "codeact_login", value: LOGIN, url: URL_, httpOnly: true, sameSite: "Strict" }]);
    here.errors = [];
    here.page = await here.open();
  });
  afterEach(async () => {
    await removeAll(here.context);
    await here.context.close();
    assert.deepEqual(here.errors, [], "errors of the page");
  });
  here.open = async (path = "/") => {
    const page = await here.context.newPage();
    page.setDefaultTimeout(LONG);
    page.on("pageerror", (error) => here.errors.push(error.message));
    page.on("console", (message) => {
      if (/Content.Security.Policy/i.test(message.text())) here.errors.push(message.text());
    });
    await page.goto(URL_ + path);
    return page;
  };
  return here;
}

/** Conversations hold sandboxes, of which there are only so many. */
async function removeAll({ request }) {
  const { conversations } = await (await request.get(`${URL_}/api/conversations`)).json();
  for (const { id } of conversations) await request.delete(`${URL_}/api/conversations/${id}`);
}

export const composer = (page) => page.getByRole("textbox", { name: "Your message" });
export const stopButton = (page) => page.getByRole("button", { name: /^Stop/ });
export const lastTurn = (page) => page.locator(".turn").last();
export const cells = (page) => page.getByRole("region", { name: /^Code cell/ });

export async function send(page, text) {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

/** Sends, and waits until the turn is over. */
export async function ask(page, text) {
  const turns = await page.locator('.turn[data-state="closed"]').count();
  await send(page, text);
  await page.locator('.turn[data-state="closed"]').nth(turns).waitFor();
}

/** Makes the model run `code`, and checks how that ended; gives the cell. */
export async function run(page, code, outcome = "ok") {
  await ask(page, `run ${code}`);
  const cell = cells(page).last();
  assert.equal(await cell.getAttribute("data-outcome"), outcome, await lastTurn(page).innerText());
  return cell;
}

/** What a reader sees of the conversation, without what counts or turns. */
export function seen(page) {
  return page.locator(".col").evaluate((column) =>
    [...column.querySelectorAll(".you, .markdown, .cell .st, .cell .code, .cell .out, .cell .plain, .ending .why")].map((node) => node.textContent),
  );
}

/** Waits until `check` no longer throws. */
export async function eventually(check, within = 10_000) {
  const end = Date.now() + within;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}
