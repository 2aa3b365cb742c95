import { api, ApiError } from "../connection";
import type { Connection } from "../connection";
import type { Command, Frame, Told, View } from "../protocol";
import { drafts } from "./drafts";
import { apply, EMPTY, ofPage } from "./fold";
import { Outbox } from "./outbox";
import type { Pending } from "./outbox";

/** What is known of the conversation on this page, apart from its view. */
export type Phase = { name: "loading" } | { name: "ready" } | { name: "failed"; words: string; again: boolean };

export interface Snapshot {
  phase: Phase;
  title: string;
  view: View;
  /** Messages sent that the server has not accepted yet. */
  pending: readonly Pending[];
  /** Words of the last refusal, until the next send. */
  notice: string;
  /** The last message that was refused: its text is in the draft again. */
  returned: string | null;
  /** Server clock minus ours, in seconds, for elapsed times. */
  skew: number;
}

/** One render per 50 ms is enough for the eye, and leaves the page's thread to typing and scrolling. */
const COMMIT_MS = 50;
const RELOAD_S = 2;

/**
 * One conversation, kept up to date: loads its page, follows it on the websocket, folds what is told.
 *
 * Lives outside React. Frames are folded as they come; watchers hear of it at once after a quiet moment, and then at most
 * every 50 ms. A lost connection is resumed from the last cursor; `reset` or a gap loads the page again.
 */
export class Session {
  readonly id: string;
  private readonly connection: Connection;
  private readonly outbox: Outbox;
  private snapshot: Snapshot = { phase: { name: "loading" }, title: "", view: EMPTY, pending: [], notice: "", returned: null, skew: 0 };
  private shown: Snapshot;
  private cursor: string | null = null;
  private following = false;
  private loads = 0;
  private loadedAt = 0;
  private stopping: string | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private readonly watchers = new Set<() => void>();

  constructor(id: string, connection: Connection) {
    this.id = id;
    this.connection = connection;
    this.outbox = new Outbox(id);
    this.snapshot = { ...this.snapshot, pending: this.outbox.items };
    this.shown = this.snapshot;
  }

  /** Begins to follow the conversation, until what is returned is called. */
  open(): () => void {
    const release = this.connection.listen((frame) => this.heard(frame));
    void this.load();
    return () => {
      release();
      this.loads++;
      this.connection.send({ type: "unsubscribe", conversation: this.id });
      if (this.retry) clearTimeout(this.retry);
    };
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  readonly read = (): Snapshot => this.shown;

  /** Sent now or as soon as there is a connection, and again after every lost one, until the server has accepted it. */
  send(text: string): void {
    this.post({ turn: newId(), text });
  }

  /** Goes on where the last turn ended early. */
  goOn(): void {
    this.post({ turn: newId(), text: null });
  }

  stop(): void {
    // A message still on its way can be stopped too: both commands arrive in this order.
    const open = this.snapshot.view.turns.find((turn) => turn.state !== "closed") ?? this.outbox.items.at(-1);
    if (!open) return;
    this.stopping = open.turn;
    if (this.following) this.command({ type: "turn.stop", conversation: this.id, turn: open.turn });
  }

  restartKernel(): void {
    this.command({ type: "kernel.restart", conversation: this.id });
  }

  reload(): void {
    this.change({ phase: { name: "loading" } });
    void this.load();
  }

  private post(pending: Pending): void {
    this.outbox.add(pending);
    this.change({ pending: this.outbox.items, notice: "" });
    if (this.following) this.command(this.commandOf(pending));
  }

  private commandOf({ turn, text }: Pending): Command {
    const conversation = this.id;
    return text === null ? { type: "turn.continue", conversation, turn } : { type: "message.send", conversation, turn, text };
  }

  private command(command: Command): void {
    this.connection.send(command);
  }

  private async load(): Promise<void> {
    const mine = ++this.loads;
    this.following = false;
    try {
      if (this.outbox.items.length > 0) await api.create(this.id);
      const page = await api.page(this.id);
      if (mine !== this.loads) return;
      this.cursor = page.cursor;
      this.loadedAt = Date.now();
      this.accept(ofPage(page), { phase: { name: "ready" }, title: page.summary.title });
      this.follow();
    } catch (error) {
      if (mine === this.loads) this.failed(error);
    }
  }

  private failed(error: unknown): void {
    const again = !(error instanceof ApiError) || error.status === 0 || error.status >= 500;
    const words = error instanceof ApiError ? error.message : "The conversation could not be read. Reload the page.";
    if (this.cursor === null || !again) this.change({ phase: { name: "failed", words, again } });
    if (again) this.retry = setTimeout(() => void this.load(), RELOAD_S * 1000);
  }

  /** At once, but not twice within a second or two: a server that keeps sending us back must not be hammered. */
  private loadAgain(): void {
    this.following = false;
    const rest = this.loadedAt + RELOAD_S * 1000 - Date.now();
    if (this.retry) clearTimeout(this.retry);
    this.retry = setTimeout(() => void this.load(), Math.max(0, rest));
  }

  /** Subscribes afresh. Frames of an older subscription are not listened to: `subscribed` marks where the new one begins. */
  private follow(): void {
    if (this.cursor === null) return;
    this.command({ type: "unsubscribe", conversation: this.id });
    this.command({ type: "subscribe", conversation: this.id, cursor: this.cursor });
  }

  private heard(frame: Frame): void {
    if (frame.type === "hello") {
      this.following = false;
      return this.follow();
    }
    if (frame.type === "conversation.changed" && frame.summary.id === this.id) return this.change({ title: frame.summary.title });
    if (!("conversation" in frame) || frame.conversation !== this.id) return;
    if (frame.type === "told" && this.following) this.told(frame);
    else if (frame.type === "subscribed") this.followed();
    else if (frame.type === "reset") this.loadAgain();
    else if (frame.type === "refused") this.refused(frame.words, frame.turn);
    else if (frame.type === "conversation.removed") this.gone();
  }

  /** Whatever was asked for while nobody listened is asked again: every command is idempotent. */
  private followed(): void {
    this.following = true;
    for (const pending of this.outbox.items) this.command(this.commandOf(pending));
    if (this.stopping !== null) this.command({ type: "turn.stop", conversation: this.id, turn: this.stopping });
  }

  private told({ event, cursor }: Told): void {
    this.cursor = cursor;
    const skew = event.type === "turn.opened" || event.type === "cell.opened" ? { skew: event.at - Date.now() / 1000 } : {};
    this.accept(apply(this.snapshot.view, event), skew);
    if (this.snapshot.view.gap) this.loadAgain();
  }

  private accept(view: View, more: Partial<Snapshot>): void {
    const stopped = this.stopping;
    if (view.turns.some((turn) => turn.turn === stopped && turn.state === "closed")) this.stopping = null;
    if (this.outbox.items.length > 0) this.outbox.keep(({ turn }) => !view.turns.some((known) => known.turn === turn));
    this.change({ view, pending: this.outbox.items, ...more });
  }

  private refused(words: string, turn: string | null): void {
    const refused = this.outbox.items.find((pending) => pending.turn === turn);
    if (refused) {
      this.outbox.keep((pending) => pending !== refused);
      drafts.write(this.id, [refused.text, drafts.read(this.id)].filter(Boolean).join("\n\n"));
    }
    this.change({ notice: words, pending: this.outbox.items, returned: refused?.turn ?? this.snapshot.returned });
  }

  private gone(): void {
    this.change({ phase: { name: "failed", words: "This conversation was deleted.", again: false } });
  }

  private change(part: Partial<Snapshot>): void {
    this.snapshot = { ...this.snapshot, ...part };
    if (this.timer === null) this.commit();
  }

  private commit(): void {
    this.timer = null;
    if (this.shown === this.snapshot) return;
    this.shown = this.snapshot;
    this.timer = setTimeout(() => this.commit(), COMMIT_MS);
    for (const watcher of [...this.watchers]) watcher();
  }
}

export function newId(): string {
  // randomUUID exists only on secure pages; a chat opened by its address in a home network is none.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
