// Pictures of every scene: node dev/shots.mjs folder [scene…]. Needs a Chromium (CHROMIUM, default /usr/bin/chromium).
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build, preview } from "vite";

const folder = process.argv[2] ?? "node_modules/.cache/shots";
const configFile = fileURLToPath(new URL("vite.config.ts", import.meta.url));
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
const SIZES = { wide: { width: 1440, height: 1000 }, phone: { width: 390, height: 844 } };
const only = process.argv.slice(3);

mkdirSync(folder, { recursive: true });
await build({ configFile, logLevel: "error" });
const server = await preview({ configFile, logLevel: "error", preview: { port: 0, host: "127.0.0.1" } });
const base = server.resolvedUrls.local[0].replace(/\/$/, "");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
const scenes = { start: "/", growth: "/c/growth", ends: "/c/ends", outputs: "/c/outputs", long: "/c/long", missing: "/c/nothing" };

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const theme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport, colorScheme: theme, deviceScaleFactor: 1 });
    const page = await context.newPage();
    page.on("pageerror", (error) => console.log("page error:", error.message));
    page.on("console", (message) => message.type() === "error" && console.log("console:", message.text()));
    for (const [name, path] of Object.entries(scenes)) {
      if (only.length > 0 && !only.includes(name)) continue;
      await page.goto(base + path);
      await page.waitForTimeout(700);
      await page.screenshot({ path: `${folder}/${name}-${size}-${theme}.png` });
    }
    await context.close();
  }
}
await browser.close();
await server.close();
process.exit(0);
