import type { Command, Frame } from "../protocol";
import { PROTOCOL_VERSION } from "../protocol";
import { backoff, classify } from "./classify";

/** What the page may show about its connection. `late`: what happens does not arrive now, and will be told later. */
export type Status =
  | { state: "connecting"; attempt: number }
  | { state: "open"; model: string; late: boolean }
  | { state: "waiting"; attempt: number }
  | { state: "stopped"; words: string };

/** The part of a browser's WebSocket that is used here. */
export interface Socket {
  send(data: string): void;
  close(code?: number): void;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
}

/** What the connection needs from the world; tests bring their own. */
export interface World {
  open: () => Socket;
  random: () => number;
  after: (seconds: number, run: () => void) => () => void;
}

type Listener = (frame: Frame) => void;

const PING_EVERY_S = 15;
const SILENCE_S = 10;
const HANDSHAKE_S = 10;
const OUTDATED = "The server was updated. Reload the page to go on.";

/**
 * One websocket for the whole page, kept alive for as long as the page lives.
 *
 * Commands are sent only while it is open (after `hello`); whoever needs one delivered sends it again on the next `hello`,
 * which is harmless, because every command is idempotent. A ping every 15 s, with 10 s for any answer, notices a
 * connection that is dead without saying so.
 */
export class Connection {
  status: Status = { state: "connecting", attempt: 0 };
  private socket: Socket | null = null;
  private attempt = 0;
  private cancel: (() => void)[] = [];
  private readonly frames = new Set<Listener>();
  private readonly watchers = new Set<() => void>();
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** Frames of the server, `hello` first after every (re)connection. */
  listen(listener: Listener): () => void {
    this.frames.add(listener);
    return () => this.frames.delete(listener);
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  readonly read = (): Status => this.status;

  /** False when not connected: the command was not sent. */
  send(command: Command): boolean {
    if (this.status.state !== "open" || !this.socket) return false;
    this.socket.send(JSON.stringify(command));
    return true;
  }

  start(): void {
    this.drop();
    this.become({ state: "connecting", attempt: this.attempt });
    const socket = this.world.open();
    this.socket = socket;
    this.later(HANDSHAKE_S, () => this.lost(1006));
    socket.onmessage = ({ data }) => this.heard(String(data));
    socket.onclose = ({ code }) => this.lost(code);
  }

  /** The network is back or the page visible again: do not sit out the wait, and test a connection that seems open. */
  wake(): void {
    if (this.status.state === "waiting") this.start();
    else if (this.status.state === "open") this.ping();
  }

  stop(words: string): void {
    this.drop();
    this.become({ state: "stopped", words });
  }

  private heard(data: string): void {
    const frame = JSON.parse(data) as Frame;
    this.calm();
    if (frame.type === "hello") {
      if (frame.protocol !== PROTOCOL_VERSION) return this.stop(OUTDATED);
      this.attempt = 0;
      this.become({ state: "open", model: frame.model, late: false });
    } else if (frame.type === "delivery" && this.status.state === "open") {
      this.become({ ...this.status, late: !frame.live });
    }
    for (const listener of [...this.frames]) listener(frame);
  }

  /** Anything heard proves life: the next ping is due in 15 s. */
  private calm(): void {
    this.clear();
    this.later(PING_EVERY_S, () => this.ping());
  }

  private ping(): void {
    this.clear();
    this.send({ type: "ping" });
    this.later(SILENCE_S, () => this.lost(1006));
  }

  private lost(code: number): void {
    this.drop();
    const verdict = classify(code);
    if (verdict.action === "stop") return this.become({ state: "stopped", words: verdict.words });
    const seconds = verdict.at_once && this.attempt === 0 ? 0 : backoff(this.attempt, this.world.random);
    this.attempt += 1;
    this.become({ state: "waiting", attempt: this.attempt });
    this.later(seconds, () => this.start());
  }

  private drop(): void {
    this.clear();
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = socket.onopen = null;
    socket.close();
  }

  private later(seconds: number, run: () => void): void {
    this.cancel.push(this.world.after(seconds, run));
  }

  private clear(): void {
    for (const cancel of this.cancel.splice(0)) cancel();
  }

  private become(status: Status): void {
    this.status = status;
    for (const watcher of [...this.watchers]) watcher();
  }
}

/** The connection of a real page. */
export function browserConnection(): Connection {
  const address = new URL("/ws", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const connection = new Connection({
    open: () => new WebSocket(address) as unknown as Socket,
    random: Math.random,
    after: (seconds, run) => {
      const timer = setTimeout(run, seconds * 1000);
      return () => clearTimeout(timer);
    },
  });
  addEventListener("online", () => connection.wake());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") connection.wake();
  });
  return connection;
}
