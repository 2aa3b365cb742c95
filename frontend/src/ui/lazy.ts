import { useSyncExternalStore } from "react";

/** A module that is fetched when something first needs it. Until it is there, readers get null. */
export function lazily<T>(load: () => Promise<T>): () => T | null {
  let value: T | null = null;
  let started = false;
  const watchers = new Set<() => void>();

  const start = () => {
    started = true;
    load().then(
      (loaded) => {
        value = loaded;
        for (const watcher of watchers) watcher();
      },
      () => (started = false),
    );
  };
  const watch = (watcher: () => void) => {
    if (!started) start();
    watchers.add(watcher);
    return () => void watchers.delete(watcher);
  };
  const read = () => value;
  return () => useSyncExternalStore(watch, read, read);
}
