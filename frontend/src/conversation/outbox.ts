/** A message the server has not accepted yet; without text it asks to go on. */
export interface Pending {
  turn: string;
  text: string | null;
}

/** Messages on their way. Kept in the tab's storage, so that a reload at the wrong moment loses none. */
export class Outbox {
  items: readonly Pending[];
  private readonly key: string;

  constructor(conversation: string) {
    this.key = `outbox:${conversation}`;
    this.items = stored(this.key);
  }

  add(pending: Pending): void {
    this.save([...this.items, pending]);
  }

  keep(wanted: (pending: Pending) => boolean): void {
    this.save(this.items.filter(wanted));
  }

  private save(items: readonly Pending[]): void {
    this.items = items;
    try {
      if (items.length > 0) sessionStorage.setItem(this.key, JSON.stringify(items));
      else sessionStorage.removeItem(this.key);
    } catch {
      // Storage may be full or forbidden; then a reload forgets what was not accepted.
    }
  }
}

function stored(key: string): readonly Pending[] {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "[]") as Pending[];
  } catch {
    return [];
  }
}
