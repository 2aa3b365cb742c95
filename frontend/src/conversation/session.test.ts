import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Connection } from "../connection";
import type { Command, ConversationPage, Event, Frame } from "../protocol";
import { Session } from "./session";

const PAGE: ConversationPage = {
  summary: { id: "c", title: "Title", created_at: 0, updated_at: 0, running: false },
  events: [], live: null, cursor: "page",
  kernel: { state: "none", words: "", memory_used: null, memory_limit: null },
};
const opened = (turn: string, seq: number): Event => ({ type: "turn.opened", seq, turn, at: 1, text: "hi", via: "browser" });

function setUp(page = PAGE) {
  const sent: Command[] = [];
  let listener: (frame: Frame) => void = () => undefined;
  let connected = true;
  const connection = {
    listen: (next: typeof listener) => {
      listener = next;
      return () => undefined;
    },
    send: (command: Command) => connected && sent.push(command) > 0,
  } as unknown as Connection;
  const fetched = vi.fn(() => Promise.resolve(new Response(JSON.stringify(page))));
  vi.stubGlobal("fetch", fetched);
  const session = new Session("c", connection);
  session.open();
  const tell = (frame: Frame) => listener(frame);
  const told = (event: Event, cursor: string) => tell({ type: "told", conversation: "c", cursor, event });
  const names = () => sent.splice(0).map(({ type }) => type);
  const lose = () => (connected = false);
  const regain = () => {
    connected = true;
    tell({ type: "hello", protocol: 1, model: "m" });
  };
  return { session, sent, tell, told, names, fetched, lose, regain };
}

async function ready(page = PAGE) {
  const all = setUp(page);
  await vi.advanceTimersByTimeAsync(1);
  all.tell({ type: "subscribed", conversation: "c" });
  all.names();
  return all;
}

const stored = new Map<string, string>();
beforeEach(() => {
  vi.useFakeTimers();
  stored.clear();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
    removeItem: (key: string) => stored.delete(key),
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a session", () => {
  it("loads the page and follows from its cursor", async () => {
    const { session, sent } = setUp();
    await vi.advanceTimersByTimeAsync(60);
    expect(sent.at(-1)).toEqual({ type: "subscribe", conversation: "c", cursor: "page" });
    expect(session.read()).toMatchObject({ phase: { name: "ready" }, title: "Title" });
  });

  it("resumes from the last cursor told after a lost connection", async () => {
    const { told, lose, regain, sent, fetched } = await ready();
    told(opened("t", 1), "seven");
    lose();
    regain();
    expect(sent.at(-1)).toMatchObject({ type: "subscribe", cursor: "seven" });
    expect(fetched).toHaveBeenCalledTimes(1);
  });

  it("sends again what was not accepted, and nothing that was", async () => {
    const { session, lose, regain, tell, told, names } = await ready();
    lose();
    session.send("hello");
    await vi.advanceTimersByTimeAsync(60);
    const { turn } = session.read().pending[0]!;
    regain();
    tell({ type: "subscribed", conversation: "c" });
    expect(names()).toEqual(["unsubscribe", "subscribe", "message.send"]);
    told(opened(turn, 1), "1");
    await vi.advanceTimersByTimeAsync(60);
    expect(session.read().pending).toEqual([]);
    regain();
    tell({ type: "subscribed", conversation: "c" });
    expect(names()).not.toContain("message.send");
  });

  it("loads the page again after a gap, and listens to nothing until it follows anew", async () => {
    const { session, told, fetched } = await ready();
    told({ type: "text.delta", turn: "t", step: 3, offset: 9, text: "x" }, "1");
    told(opened("t", 1), "1");
    told({ type: "text.delta", turn: "t", step: 0, offset: 9, text: "x" }, "2");
    told(opened("u", 2), "3");
    await vi.advanceTimersByTimeAsync(2500);
    expect(fetched).toHaveBeenCalledTimes(2);
    expect(session.read().view).toMatchObject({ seq: 0, gap: false });
  });

  it("loads the page again when it is told to", async () => {
    const { tell, fetched } = await ready();
    tell({ type: "reset", conversation: "c" });
    await vi.advanceTimersByTimeAsync(2500);
    expect(fetched).toHaveBeenCalledTimes(2);
  });

  it("stops a message that is still on its way", async () => {
    const { session, sent } = await ready();
    session.send("hello");
    session.stop();
    expect(sent.map(({ type }) => type)).toEqual(["message.send", "turn.stop"]);
    expect(sent[1]).toMatchObject({ turn: (sent[0] as { turn: string }).turn });
  });

  it("gives a refused message back with the reason", async () => {
    const { session, tell } = await ready();
    session.send("hello");
    await vi.advanceTimersByTimeAsync(60);
    const { turn } = session.read().pending[0]!;
    tell({ type: "refused", reason: "turn_open", words: "Another turn is open.", conversation: "c", turn });
    await vi.advanceTimersByTimeAsync(60);
    expect(session.read()).toMatchObject({ pending: [], notice: "Another turn is open.", returned: turn });
    expect(stored.get("draft:c")).toBe("hello");
  });

  it("tells its watchers at once, and then at most every 50 ms", async () => {
    const { session, told } = await ready();
    await vi.advanceTimersByTimeAsync(200);
    let heard = 0;
    session.watch(() => heard++);
    told(opened("t", 1), "1");
    expect(heard).toBe(1);
    for (let n = 0; n < 40; n++) {
      told({ type: "text.delta", turn: "t", step: 0, offset: n, text: "x" }, String(n));
      await vi.advanceTimersByTimeAsync(5);
    }
    expect(heard).toBeLessThanOrEqual(5);
    await vi.advanceTimersByTimeAsync(60);
    expect(session.read().view.turns[0]!.items[0]).toMatchObject({ text: "x".repeat(40) });
  });
});
