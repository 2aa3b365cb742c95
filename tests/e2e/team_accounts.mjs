// A server with accounts, from its first user on: two people, each with their own.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, run, send, started } from "./browser.mjs";

const URL_ = process.env.CODEACT_URL;
const ADA = { name: "Ada", email: "ada@example.org", password: "difference engine" };
const BOB = { name: "Bob", email: "bob@example.org", password: "nine lives of a cat" };
let browser;

before(async () => (browser = await started()));
after(() => browser.close());

async function person(path = "/") {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.broken = [];
  page.on("pageerror", (error) => page.broken.push(error.message));
  await page.goto(URL_ + path);
  return page;
}

async function fill(page, fields) {
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
}

const inside = (page) => page.getByText("What would you like to work out?").waitFor();

async function menu(page, entry) {
  await page.getByTitle("Your account").click();
  await page.getByRole("menuitem", { name: entry }).click();
}

test("the first account is made, invites another, and neither sees what is the other's", async () => {
  const ada = await person();
  await ada.getByRole("heading", { name: "The first account" }).waitFor();
  await fill(ada, { Name: ADA.name, Email: ADA.email, Password: ADA.password });
  await ada.getByRole("button", { name: "Make the account" }).click();
  await inside(ada);
  await run(ada, "print('of Ada')");
  const hers = new URL(ada.url()).pathname;

  await menu(ada, "Administration");
  await ada.getByLabel("Email").fill(BOB.email);
  await ada.getByRole("button", { name: "Invite" }).click();
  const link = await ada.locator(".secret code").innerText();

  const stranger = await person();
  await stranger.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await stranger.getByRole("button", { name: "Make an account" }).count(), 0);

  const bob = await person(new URL(link).pathname + new URL(link).hash);
  await fill(bob, { Name: BOB.name, Email: BOB.email, Password: BOB.password });
  await bob.getByRole("button", { name: "Make the account" }).click();
  await inside(bob);
  assert.equal(new URL(bob.url()).hash, "", "the invitation is in the address no more");
  assert.equal(await bob.getByText("of Ada").count(), 0);
  await bob.goto(URL_ + hers);
  await bob.getByText("There is no such conversation").waitFor();
  await bob.goto(`${URL_}/admin/users`);
  await inside(bob);
  assert.equal(await bob.getByText(ADA.email).count(), 0);
  for (const page of [ada, stranger, bob]) assert.deepEqual(page.broken, []);
});

test("signing out ends the session; a wrong password is said to be one", async () => {
  const ada = await person();
  await fill(ada, { Email: ADA.email, Password: "not this one, no" });
  await ada.getByRole("button", { name: "Sign in" }).click();
  await ada.getByRole("alert").getByText(/do not belong together/).waitFor();
  await fill(ada, { Password: ADA.password });
  await ada.getByRole("button", { name: "Sign in" }).click();
  await inside(ada);
  await ask(ada, "hello");
  await menu(ada, "Sign out");
  await ada.getByRole("heading", { name: "Sign in" }).waitFor();
  await ada.reload();
  await ada.getByRole("heading", { name: "Sign in" }).waitFor();
});

test("a token works for a program until it is revoked", async () => {
  const bob = await person();
  await fill(bob, { Email: BOB.email, Password: BOB.password });
  await bob.getByRole("button", { name: "Sign in" }).click();
  await inside(bob);
  await menu(bob, "Your account");
  await bob.getByLabel("What is it for?").fill("a program");
  await bob.getByRole("button", { name: "Make a token" }).click();
  const token = await bob.locator(".secret code").innerText();
  const models = () => fetch(`${URL_}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal((await models()).status, 200);
  await bob.getByRole("button", { name: "Revoke the token a program" }).click();
  await bob.getByText("You have none.").waitFor();
  assert.equal((await models()).status, 401);
  assert.equal(await bob.locator(".secret").count(), 1, "what was shown stays until it is put away");
});

test("a limit that an administrator sets is seen, and holds before anything is lost", async () => {
  const ada = await person("/admin/limits");
  await fill(ada, { Email: ADA.email, Password: ADA.password });
  await ada.getByRole("button", { name: "Sign in" }).click();
  await ada.getByRole("button", { name: "Add a user" }).click();
  await ada.getByLabel("User", { exact: true }).selectOption({ label: `${BOB.name} (${BOB.email})` });
  await fill(ada, { "Messages a day": "one" });
  await ada.getByRole("button", { name: "Save" }).click();
  await ada.getByText("“one” is no limit").waitFor();
  await fill(ada, { "Messages a day": "1" });
  await ada.getByRole("button", { name: "Save" }).click();
  await ada.getByText("messages a day: 1").waitFor();

  const bob = await person();
  await fill(bob, { Email: BOB.email, Password: BOB.password });
  await bob.getByRole("button", { name: "Sign in" }).click();
  await inside(bob);
  await ask(bob, "hello");
  await send(bob, "one more");
  await bob.getByText(/You have used all 1 message/).waitFor();
  await bob.getByText("one more").waitFor();
  await menu(bob, "Your account");
  await bob.getByText("0 of 1 messages left").waitFor();
});

test("whoever is locked out is out at once, and is told", async () => {
  const bob = await person();
  await fill(bob, { Email: BOB.email, Password: BOB.password });
  await bob.getByRole("button", { name: "Sign in" }).click();
  await inside(bob);
  const ada = await person("/admin/users");
  await fill(ada, { Email: ADA.email, Password: ADA.password });
  await ada.getByRole("button", { name: "Sign in" }).click();
  const line = ada.getByRole("row").filter({ hasText: BOB.email }).filter({ hasText: "Lock out" });
  await line.getByRole("button", { name: "Lock out" }).click();
  await ada.getByText("(locked out)").waitFor();
  await bob.getByText("You are signed out here").waitFor();
  await bob.getByRole("button", { name: "Reload" }).click();
  await bob.getByRole("heading", { name: "Sign in" }).waitFor();
});
