import { useSyncExternalStore } from "react";

const watchers = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | null = null;
let now = Date.now();

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  now = Date.now();
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of watchers) each();
  }, 1000);
  return () => {
    watchers.delete(watcher);
    if (watchers.size > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  };
}

const read = () => now;

/** Seconds since `since` (Unix seconds of the server; `skew` is its clock minus ours), counting in place. */
export function Elapsed({ since, skew, format }: { since: number; skew: number; format: (seconds: number) => string }) {
  const at = useSyncExternalStore(watch, read);
  return <span className="elapsed">{format(Math.max(0, Math.floor(at / 1000 + skew - since)))}</span>;
}
