import type { Command, ConversationPage, ConversationSummary, Event, Frame } from "../src/protocol";
import { LIST, PAGES } from "./scenes";
import { script } from "./script";

/** Replaces `fetch` and `WebSocket` by a server within the page. It knows the scenes, and answers every message alike. */
export function installFakeServer(): void {
  const real = window.fetch.bind(window);
  window.fetch = (input, init) => {
    const path = String(input);
    return path.startsWith("/api/") || path === "/readyz" ? Promise.resolve(answer(path, init?.method ?? "GET")) : real(input, init);
  };
  window.WebSocket = FakeSocket as unknown as typeof WebSocket;
}

const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status });

function answer(path: string, method: string): Response {
  if (path === "/readyz") return json({ ok: true, parts: [] });
  const id = /^\/api\/conversations\/([^?]+)/.exec(path)?.[1];
  if (id === undefined) return json({ conversations: LIST });
  if (method === "PUT") return json((PAGES[id] ??= empty(id)).summary);
  if (method === "DELETE") return new Response(null, { status: 204 });
  const page = PAGES[id];
  return page ? json(page) : json({ detail: "unknown" }, 404);
}

function empty(id: string): ConversationPage {
  const now = Date.now() / 1000;
  const summary: ConversationSummary = { id, title: "", created_at: now, updated_at: now, running: false };
  return { summary, events: [], live: null, cursor: "0", kernel: { state: "none", words: "", memory_used: null, memory_limit: null } };
}

class FakeSocket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  private playing: { conversation: string; turn: string; stop: () => void } | null = null;

  constructor() {
    setTimeout(() => this.tell({ type: "hello", protocol: 1, model: "Qwen2.5-Coder 7B" }), 20);
  }

  close(): void {
    this.playing?.stop();
  }

  send(data: string): void {
    const command = JSON.parse(data) as Command;
    if (command.type === "subscribe") this.tell({ type: "subscribed", conversation: command.conversation });
    if (command.type === "ping") this.tell({ type: "pong" });
    if (command.type === "message.send") this.play(command.conversation, command.turn, command.text);
    if (command.type === "turn.continue") this.play(command.conversation, command.turn, "");
    if (command.type === "turn.stop") this.playing?.stop();
  }

  private play(conversation: string, turn: string, text: string): void {
    const { events, stopped } = script(turn, text, (PAGES[conversation]?.events.length ?? 0) + 1);
    const tell = (event: Event) => this.tell({ type: "told", conversation, cursor: "0", event });
    let at = 0;
    const step = () => {
      const next = events[at++];
      if (!next) return;
      tell(next.event);
      timer = setTimeout(step, next.wait);
    };
    let timer = setTimeout(step, 30);
    this.playing = {
      conversation,
      turn,
      stop: () => {
        clearTimeout(timer);
        tell({ type: "turn.stopping", turn });
        setTimeout(() => stopped(at).forEach(tell), 400);
      },
    };
  }

  private tell(frame: Frame): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}
