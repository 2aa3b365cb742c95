import { useSyncExternalStore } from "react";

/** What the address shows: a conversation (null: a new one), one's account, or a tab of the administration. */
export type Place = { page: "conversation"; id: string | null } | { page: "account" } | { page: "admin"; tab: string };

const watchers = new Set<() => void>();

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  addEventListener("popstate", watcher);
  return () => {
    watchers.delete(watcher);
    removeEventListener("popstate", watcher);
  };
}

/** Pure: the place that a path names; every other path is a new conversation. */
export function placeOf(path: string): Place {
  const admin = /^\/admin(?:\/([a-z]{1,20}))?\/?$/.exec(path);
  if (admin) return { page: "admin", tab: admin[1] ?? "" };
  if (/^\/account\/?$/.test(path)) return { page: "account" };
  return { page: "conversation", id: /^\/c\/([A-Za-z0-9_-]{1,64})\/?$/.exec(path)?.[1] ?? null };
}

export function pathOf(place: Place): string {
  if (place.page === "account") return "/account";
  if (place.page === "admin") return place.tab ? `/admin/${place.tab}` : "/admin";
  return place.id === null ? "/" : `/c/${place.id}`;
}

const path = () => location.pathname;

export const usePlace = (): Place => placeOf(useSyncExternalStore(watch, path));

export function go(place: Place): void {
  if (pathOf(place) === pathOf(placeOf(location.pathname))) return;
  history.pushState(null, "", pathOf(place));
  for (const watcher of watchers) watcher();
}
