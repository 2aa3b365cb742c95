import { api, ApiError } from "../connection";
import type { Connection } from "../connection";
import type { ConversationSummary, Frame } from "../protocol";

export interface Listing {
  loaded: boolean;
  conversations: readonly ConversationSummary[];
  /** There are older ones on the server. */
  more: boolean;
  /** Why the list could not be read; empty when it could. */
  words: string;
  /** The server does not know this browser. */
  forbidden: boolean;
}

const PAGE = 50;

/** The conversation list, newest first, kept up to date by what every connection is told. */
export class Conversations {
  private listing: Listing = { loaded: false, conversations: [], more: false, words: "", forbidden: false };
  private readonly watchers = new Set<() => void>();

  constructor(connection: Connection) {
    connection.listen((frame) => this.heard(frame));
    void this.load();
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  readonly read = (): Listing => this.listing;

  more(): Promise<void> {
    return this.fetch(this.listing.conversations.at(-1)?.updated_at ?? null);
  }

  rename(id: string, title: string): Promise<void> {
    return this.attempt(() => api.rename(id, title));
  }

  remove(id: string): Promise<void> {
    return this.attempt(() => api.remove(id).then(() => this.without(id)));
  }

  load(): Promise<void> {
    return this.fetch(null);
  }

  private async fetch(before: number | null): Promise<void> {
    await this.attempt(async () => {
      const { conversations } = await api.list(PAGE, before === null ? null : String(before));
      const kept = before === null ? [] : this.listing.conversations;
      this.become({ loaded: true, conversations: sorted([...kept, ...conversations]), more: conversations.length === PAGE });
    });
  }

  private async attempt(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      if (this.listing.words) this.become({ words: "" });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.become({ words: error.message, forbidden: error.status === 403 });
    }
  }

  private heard(frame: Frame): void {
    if (frame.type === "hello") void this.load();
    else if (frame.type === "conversation.removed") this.without(frame.conversation);
    else if (frame.type === "conversation.changed") {
      this.become({ conversations: sorted([frame.summary, ...this.listing.conversations]) });
    }
  }

  private without(id: string): void {
    this.become({ conversations: this.listing.conversations.filter((summary) => summary.id !== id) });
  }

  private become(part: Partial<Listing>): void {
    this.listing = { ...this.listing, ...part };
    for (const watcher of [...this.watchers]) watcher();
  }
}

/** Newest first; of two lines of one conversation the first counts. */
function sorted(lines: ConversationSummary[]): ConversationSummary[] {
  const byId = new Map(lines.toReversed().map((line) => [line.id, line]));
  return [...byId.values()].sort((a, b) => b.updated_at - a.updated_at);
}
