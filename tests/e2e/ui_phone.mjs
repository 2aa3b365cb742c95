import assert from "node:assert/strict";
import { test } from "node:test";
import { run, withPage } from "./browser.mjs";

const here = withPage({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

test("a phone shows the conversation whole, with the list in a drawer", async () => {
  const { page } = here;
  const cell = await run(page, "# wide\nprint('x' * 300)\nimport pandas as pd\npd.DataFrame({f'column {n}': [n] * 3 for n in range(12)})");
  await cell.locator("iframe").waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  const list = page.getByRole("navigation", { name: "Conversations" });
  assert.equal(await list.isVisible(), false);
  await page.getByRole("button", { name: "Conversations" }).tap();
  await list.getByRole("button", { name: /New conversation/ }).tap();
  await page.getByText("What would you like to work out?").waitFor();
  await list.waitFor({ state: "hidden" });
});
