import { useSyncExternalStore } from "react";

const watchers = new Set<() => void>();

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  addEventListener("popstate", watcher);
  return () => {
    watchers.delete(watcher);
    removeEventListener("popstate", watcher);
  };
}

/** The conversation in the address (`/c/<id>`), or null for a new one. */
function current(): string | null {
  return /^\/c\/([A-Za-z0-9_-]{1,64})\/?$/.exec(location.pathname)?.[1] ?? null;
}

export const useRoute = (): string | null => useSyncExternalStore(watch, current);

export function go(id: string | null): void {
  if (id === current()) return;
  history.pushState(null, "", id === null ? "/" : `/c/${id}`);
  for (const watcher of watchers) watcher();
}
