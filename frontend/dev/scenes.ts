import type { CellClosed, ConversationPage, ConversationSummary, DurableEvent, Live, Output, TurnOutcome } from "../src/protocol";

const now = Date.now() / 1000;
const line = (id: string, title: string, age: number, running = false): ConversationSummary => ({
  id, title, created_at: now - age, updated_at: now - age, running,
});

export const LIST: ConversationSummary[] = [
  line("growth", "Regional growth, 2025", 60, true),
  line("ends", "Every way a turn can end", 900),
  line("outputs", "Every kind of output, and a title that is too long", 3000),
  line("long", "A long conversation", 86_400),
  line("survey", "Clean the survey export", 9 * 86_400),
];

/** Builds a conversation's events in order. */
class Log {
  readonly events: DurableEvent[] = [];
  private turn = "";
  private step = 0;
  private cells = 0;

  ask(text: string): this {
    this.turn = `t${this.events.length}`;
    this.step = 0;
    return this.add({ type: "turn.opened", seq: this.seq, turn: this.turn, at: now - 600, text, via: "browser" });
  }
  say(prose: string): this {
    return this.add({ type: "step.closed", seq: this.seq, turn: this.turn, step: this.step++, prose, code: null, finish: "answer", error: "", usage: null });
  }
  open(code: string, prose = ""): this {
    const cell = `c${this.events.length}`;
    this.add({ type: "step.closed", seq: this.seq, turn: this.turn, step: this.step, prose, code: { cell, code, opening: "", closing: "" }, finish: "code", error: "", usage: null });
    return this.add({ type: "cell.opened", seq: this.seq, turn: this.turn, cell, step: this.step++, at: now - 12 });
  }
  run(code: string, outputs: Output[], end: Partial<CellClosed> = {}, prose = ""): this {
    this.open(code, prose);
    const opened = this.events.at(-1);
    if (opened?.type !== "cell.opened") throw new Error("no cell");
    return this.add({
      type: "cell.closed", seq: this.seq, turn: this.turn, cell: opened.cell, at: now, outcome: "ok", outputs,
      execution_count: ++this.cells, duration_s: 0.42, variables_kept: true, files_kept: true, fresh: false, lost: "", words: "", files: [], ...end,
    });
  }
  cut(code: string): this {
    return this.add({ type: "step.closed", seq: this.seq, turn: this.turn, step: this.step++, prose: "", code: { cell: `c${this.seq}`, code, opening: "", closing: "" }, finish: "cut_off", error: "", usage: null });
  }
  end(outcome: TurnOutcome = "answered", words = ""): this {
    return this.add({ type: "turn.closed", seq: this.seq, turn: this.turn, at: now, outcome, words });
  }
  get last(): { turn: string; step: number; cell: string } {
    return { turn: this.turn, step: this.step - 1, cell: `c${this.events.length - 2}` };
  }
  private get seq(): number {
    return this.events.length + 1;
  }
  private add(event: DurableEvent): this {
    this.events.push(event);
    return this;
  }
}

const out = (text: string, name: "stdout" | "stderr" = "stdout"): Output => ({ kind: "text", name, text, late: false });
const rich = (data: Record<string, unknown>): Output => ({ kind: "rich", data, metadata: {}, display_id: null });
const frame = (rows: string[][]): string =>
  `<div><style scoped>.dataframe tbody tr th{vertical-align:top}</style><table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th>${rows[0]!.map((c) => `<th>${c}</th>`).join("")}</tr></thead><tbody>${rows.slice(1).map((row, n) => `<tr><th>${n}</th>${row.map((c) => `<td>${c}</td>`).join("")}</tr>`).join("")}</tbody></table></div>`;
const table = rich({ "text/html": frame([["Region", "2024", "2025", "growth"], ["South", "1,204,880", "1,633,410", "+35.6%"], ["North", "2,010,332", "2,384,120", "+18.6%"], ["West", "1,877,041", "1,940,556", "+3.4%"]]), "text/plain": "…" });
const bars = `<svg xmlns="http://www.w3.org/2000/svg" width="620" height="150" viewBox="0 0 640 150"><g fill="none" stroke="#ccc"><path d="M40 120H620M40 80H620M40 40H620"/></g><g fill="#0f6b63"><rect x="80" y="24" width="70" height="96"/><rect x="220" y="70" width="70" height="50" opacity=".55"/><rect x="360" y="110" width="70" height="10" opacity=".35"/></g></svg>`;
const traceback = "\x1b[31m---------------------------------------------------------------------------\x1b[39m\n\x1b[31mKeyError\x1b[39m                                  Traceback (most recent call last)\n\x1b[36mCell\x1b[39m\x1b[36m \x1b[39m\x1b[32mIn[1]\x1b[39m\x1b[32m, line 2\x1b[39m\n\x1b[32m      1\x1b[39m df = pd.read_csv(\x1b[33m'sales.csv'\x1b[39m)\n\x1b[32m----> \x1b[39m\x1b[32m2\x1b[39m df[\x1b[33m'region'\x1b[39m].unique()\n\n\x1b[31mKeyError\x1b[39m: 'region'";

const growth = new Log()
  .ask("Which region grew fastest last year? Plot it, then forecast the next four quarters.")
  .run("df = pd.read_csv('sales.csv')\ndf['region'].unique()", [{ kind: "error", ename: "KeyError", evalue: "'region'", traceback }], { outcome: "error", duration_s: 1.2 }, "I'll load the file and look at its columns first.")
  .run('# Growth by region, 2024 → 2025\ng = df.pivot_table(index="Region", columns="Year", values="Revenue", aggfunc="sum")\ng["growth"] = g[2025] / g[2024] - 1\ng.sort_values("growth", ascending=False)', [table, rich({ "image/svg+xml": bars })], { files: [{ path: "growth.png", change: "new", size: 20_000 }, { path: "sales.csv", change: "changed", size: 2 }] }, "The column is called `Region `, with a trailing space.")
  .open('# Backtest and forecast, four regions\nfor region, s in series.items():\n    model = ETSModel(s, trend="add", seasonal="mul", seasonal_periods=4).fit(disp=False)\n    forecasts[region] = model.forecast(4)', "**South** grew fastest, by 35.6%. Now the forecast: I'll fit an ETS model per region and backtest it on the last four quarters.");
const running: Live = { ...growth.last, prose: "", code: null, phase: "running", words: "", outputs: [out("South   MAPE 4.1%\nNorth   MAPE 6.7%\n")], n: 1, stopping: false };

const OOM = "The cell needed more than the 1 GB this sandbox has. Its variables are gone; files are kept.";
const ends = new Log()
  .ask("Bootstrap a million resamples")
  .run("# Bootstrap 10⁶ resamples\nboot = rng.choice(x, size=(10**6, len(x)))", [], { outcome: "out_of_memory", words: OOM, duration_s: 8, variables_kept: false })
  .run("while True:\n    pass", [out("working…\n")], { outcome: "timed_out", words: "The cell was stopped after 120 s. The variables are still here.", duration_s: 120 })
  .run("x = 1", [], { fresh: true })
  .cut("def unfinished(")
  .end("token_limit", "The model has written as much as one turn may. Continue to let it go on.")
  .ask("Stop this")
  .run("time.sleep(100)", [], { outcome: "interrupted", words: "You stopped this cell. The variables are still here.", duration_s: 3.1 })
  .end("stopped", "You stopped this.")
  .ask("And when the model is down?")
  .end("model_failed", "The model server at 127.0.0.1:8081 does not answer. It may still be loading the model; try again in a minute.");

const lines = Array.from({ length: 60 }, (_, n) => `epoch ${n + 1}  loss \x1b[32m${(1 / (n + 1)).toFixed(4)}\x1b[0m  \x1b[1mval\x1b[0m ${(1.1 / (n + 1)).toFixed(4)}`).join("\n") + "\n";
const code = Array.from({ length: 30 }, (_, n) => `value_${n} = compute(${n}, mode="fast")  # step ${n}`).join("\n");
const outputs = new Log()
  .ask("Show me\neverything <b>you</b> can show")
  .run(code, [out(lines), out("warning: 2 of 60 epochs did not converge\n", "stderr"), out("done\n")])
  .run("sympy.Integral(x**2, x)", [rich({ "text/latex": "$\\displaystyle \\int x^{2}\\, dx$", "text/plain": "Integral(x**2, x)" }), rich({ "application/json": { a: [1, 2, { b: null }], c: "<script>" }, "text/plain": "…" }), rich({ "text/markdown": "**bold** and `code`" }), rich({ "text/plain": "array([1, 2, 3])" }), { kind: "omitted", size: 5_300_000 }])
  .run("HTML(evil)", [rich({ "text/html": "<h3>Hello</h3><p id=p>no script</p><script>let r; try { r = parent.document.title } catch (e) { r = 'refused: ' + e.name } document.getElementById('p').textContent = r; fetch('/api/conversations').catch(e => document.body.append(' fetch refused'))</script>" })])
  .say("# A heading\n\nProse with *emphasis*, **strength**, ~~error~~, `code`, a [link](https://example.org), <b>no html</b>, and math: $e^{i\\pi} + 1 = 0$. It costs $5 and $6.\n\n$$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$$\n\n- one\n- two\n  - nested\n    1. deeper\n- [x] done\n- [ ] not done\n\n> A quotation\n> of two lines\n\n```python\ndef f(x: int) -> str:\n    \"\"\"Says it.\"\"\"\n    return f\"{x:>10}\"  # right\n```\n\n| left | right |\n|:-----|------:|\n| a | 1.00 |\n| b | 22.50 |\n\n---\n\nThe end.")
  .end();

const long = new Log();
for (let n = 0; n < 500; n++) long.ask(`Question ${n + 1}`).run(`print(${n})`, [out(`${n}\n`), ...(n % 10 ? [] : [table])]).say(`The answer to question ${n + 1} is **${n}**.`).end();

const page = (summary: ConversationSummary, log: Log, live: Live | null = null): ConversationPage => ({
  summary, events: log.events, live, cursor: "0",
  kernel: { state: live ? "busy" : "idle", words: "", memory_used: 190_840_832, memory_limit: 1_073_741_824 },
});

export const PAGES: Record<string, ConversationPage> = {
  growth: page(LIST[0]!, growth, running),
  ends: page(LIST[1]!, ends),
  outputs: page(LIST[2]!, outputs),
  long: page(LIST[3]!, long),
};

