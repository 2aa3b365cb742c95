import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, composer, eventually, send, withPage } from "./browser.mjs";

const here = withPage();
const list = (page) => page.getByRole("navigation", { name: "Conversations" });

test("conversations are listed, newest first, and open by a click", async () => {
  const { page } = here;
  await ask(page, "the first question");
  await page.keyboard.press("Control+Shift+O");
  await page.getByText("What would you like to work out?").waitFor();
  await ask(page, "the second question");
  await eventually(async () => {
    const titles = await list(page).getByRole("link").allInnerTexts();
    assert.deepEqual(titles.slice(0, 2).map((title) => title.trim()), ["the second question", "the first question"]);
  });
  await list(page).getByRole("link", { name: "the first question" }).first().click();
  await page.locator(".you", { hasText: "the first question" }).waitFor();
  await page.goBack();
  await page.locator(".you", { hasText: "the second question" }).waitFor();
});

test("a conversation can be renamed and deleted, in every tab", async () => {
  const { page } = here;
  await ask(page, "to be renamed");
  const second = await here.open();
  const line = (tab, name) => list(tab).getByRole("listitem").filter({ hasText: name });
  await line(page, "to be renamed").hover();
  await line(page, "to be renamed").getByRole("button", { name: /Actions/ }).click();
  await page.getByRole("menuitem", { name: "Rename" }).click();
  await page.getByRole("textbox", { name: "Title" }).fill("a better name");
  await page.keyboard.press("Enter");
  await line(second, "a better name").waitFor();
  await page.getByRole("heading", { name: "a better name" }).waitFor();

  await line(page, "a better name").hover();
  await line(page, "a better name").getByRole("button", { name: /Actions/ }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete" }).click();
  await line(second, "a better name").waitFor({ state: "detached" });
  await page.getByText("What would you like to work out?").waitFor();
});

test("a conversation that does not exist is said to be none", async () => {
  const page = await here.open("/c/nothing-here");
  await page.getByText("There is no such conversation").waitFor();
});

test("an example begins a conversation", async () => {
  const { page } = here;
  await page.getByRole("button", { name: /Friday the 13ths/ }).click();
  await page.locator('.turn[data-state="closed"]').waitFor();
  assert.match(page.url(), /\/c\//);
});

test("the last message comes back with the up arrow", async () => {
  const { page } = here;
  await ask(page, "say this again");
  await composer(page).press("ArrowUp");
  assert.equal(await composer(page).inputValue(), "say this again");
  await composer(page).press("Shift+Enter");
  assert.match(await composer(page).inputValue(), /\n$/);
  await send(page, "");
});
