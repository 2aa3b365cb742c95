import { useSyncExternalStore } from "react";

export type Choice = "system" | "light" | "dark";
export type Theme = "light" | "dark";

/** public/theme.js reads the same key before the first paint. */
const KEY = "theme";
let query: MediaQueryList | null = null;
const darkSystem = () => (query ??= matchMedia("(prefers-color-scheme: dark)"));
const watchers = new Set<() => void>();

function stored(): Choice {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

function current(): Theme {
  const choice = stored();
  if (choice !== "system") return choice;
  return darkSystem().matches ? "dark" : "light";
}

function show(): void {
  document.documentElement.dataset["theme"] = current();
  for (const watcher of watchers) watcher();
}

export function choose(choice: Choice): void {
  try {
    if (choice === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, choice);
  } catch {
    // Not remembered, then.
  }
  show();
}

function watch(watcher: () => void): () => void {
  if (watchers.size === 0) {
    darkSystem().addEventListener("change", show);
    document.documentElement.dataset["theme"] = current(); // it may have changed since the first paint
  }
  watchers.add(watcher);
  return () => {
    watchers.delete(watcher);
    if (watchers.size === 0) darkSystem().removeEventListener("change", show);
  };
}

export const useTheme = (): Theme => useSyncExternalStore(watch, current, () => "light");
export const useChoice = (): Choice => useSyncExternalStore(watch, stored, () => "system");
