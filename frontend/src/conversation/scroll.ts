/** Pixels: this far up is the reader's will; this near the end means they are back. */
const AWAY = 3;
const NEAR = 60;

/**
 * Keeps the end in sight while it grows, and leaves a reader who scrolled up alone.
 *
 * The one owner of the scroll position. It remembers where it scrolled to itself, so a scroll event elsewhere is the
 * reader's: a small move up lets go, coming near the end takes hold again.
 */
export class Stick {
  private pinned = true;
  private last = 0;
  private node: HTMLElement | null = null;
  private inner: HTMLElement | null = null;
  private observer: ResizeObserver | null = null;
  private readonly watchers = new Set<() => void>();

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  /** False when the reader looks at something further up. */
  readonly read = (): boolean => this.pinned;

  /** For `ref`: the element that scrolls. */
  readonly scroller = (node: HTMLElement | null): void => {
    this.node?.removeEventListener("scroll", this.scrolled);
    this.node = node;
    node?.addEventListener("scroll", this.scrolled, { passive: true });
    this.observe();
  };

  /** For `ref`: what grows in it. */
  readonly content = (node: HTMLElement | null): void => {
    this.inner = node;
    this.observe();
  };

  readonly pin = (): void => {
    this.set(true);
    this.toEnd();
  };

  private observe(): void {
    this.observer?.disconnect();
    if (!this.node || !this.inner) return;
    this.observer = new ResizeObserver(() => this.pinned && this.toEnd());
    this.observer.observe(this.inner);
    this.observer.observe(this.node);
  }

  private toEnd(): void {
    if (!this.node) return;
    this.node.scrollTop = this.node.scrollHeight;
    this.last = this.node.scrollTop;
  }

  private readonly scrolled = (): void => {
    if (!this.node) return;
    const { scrollTop, scrollHeight, clientHeight } = this.node;
    const left = scrollHeight - clientHeight - scrollTop;
    if (this.pinned && scrollTop < this.last - AWAY && left > AWAY) this.set(false);
    else if (!this.pinned && scrollTop > this.last && left < NEAR) this.set(true);
    this.last = scrollTop;
  };

  private set(pinned: boolean): void {
    if (pinned === this.pinned) return;
    this.pinned = pinned;
    for (const watcher of [...this.watchers]) watcher();
  }
}
