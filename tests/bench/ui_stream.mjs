// JavaScript time of streaming 8 kB at 200 tokens/s through the real page, against the same frames shown as plain text by
// React: as often as the page commits (every 50 ms, the strict floor), and once per animation frame. In turns, in one
// browser. Also: the longest task of the main thread while it streamed.
// node tests/bench/ui_stream.mjs [rounds] · needs `npm ci` in frontend/ and a Chromium (CHROMIUM, /usr/bin/chromium).
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const frontend = fileURLToPath(new URL("../../frontend/", import.meta.url));
const resolve = createRequire(`${frontend}package.json`).resolve;
const { chromium } = (await import(pathToFileURL(resolve("playwright-core")))).default;
const { build, preview } = await import(pathToFileURL(`${frontend}node_modules/vite/dist/node/index.js`));

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run",
];
const SIZE = 8192;
const RATE = 200;
const ROUNDS = Number(process.argv[2] ?? 3);

const configFile = `${frontend}bench/vite.config.ts`;
process.chdir(frontend);
await build({ configFile, logLevel: "error" });
const server = await preview({ configFile, logLevel: "error", preview: { port: 0, host: "127.0.0.1" } });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.on("pageerror", (error) => {
  throw error;
});
await page.goto(server.resolvedUrls.local[0]);
const devtools = await page.context().newCDPSession(page);
await devtools.send("Performance.enable");

async function scriptMs() {
  const { metrics } = await devtools.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "ScriptDuration").value * 1000;
}

async function measure(how, rate = RATE) {
  const before = await scriptMs();
  const { longest, shown } = await page.evaluate(([how, size, rate]) => window.bench.run(how, size, rate), [how, SIZE, rate]);
  if (shown < SIZE * 0.7) throw new Error(`only ${shown} characters were shown`);
  return { js: (await scriptMs()) - before, longest };
}

const rounds = { page: [], commit: [], frame: [] };
// The first round warms up code, fonts and the highlighter, and is thrown away.
for (const how of Object.keys(rounds)) await measure(how, 2000);
for (let round = 0; round < ROUNDS; round++) {
  for (const how of Object.keys(rounds)) rounds[how].push(await measure(how));
}
await browser.close();
await server.close();

const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, share) => sorted(values)[Math.min(values.length - 1, Math.floor(share * values.length))];
const short = (value) => Number(value.toPrecision(4));

function report(name, unit, samples, against, floor) {
  const value = quantile(samples, 0.5);
  const ratio = floor === null ? null : short(value / floor);
  const p95 = short(quantile(samples, 0.95));
  console.log(JSON.stringify({ name, value: short(value), unit, against, ratio, p50: short(value), p95, n: samples.length }));
}

const page_ms = rounds.page.map(({ js }) => js);
const FLOORS = { ui_stream: ["commit", "plain text every 50 ms"], ui_stream_frame: ["frame", "plain text every frame"] };
for (const [name, [how, words]] of Object.entries(FLOORS)) {
  const floor = quantile(rounds[how].map(({ js }) => js), 0.5);
  report(name, "ms", page_ms, `${words}, ${short(floor)} ms`, floor);
}
report("ui_stream_longest_task", "ms", rounds.page.map(({ longest }) => longest), "50 ms; shorter ones are not counted (0)", null);
process.exit(0);
