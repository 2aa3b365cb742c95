import type { QuotaLimit, What } from "../protocol";

/** `scale`: what one of the unit that people write counts as. */
interface Kind {
  name: string;
  short: string;
  scale: number;
}

export const WHAT: Record<What, Kind> = {
  messages: { name: "Messages a day", short: "messages a day", scale: 1 },
  model_tokens: { name: "Model tokens a day", short: "tokens a day", scale: 1 },
  cpu_seconds: { name: "CPU seconds a day", short: "CPU seconds a day", scale: 1 },
  sandboxes: { name: "Sandboxes at a time", short: "sandboxes", scale: 1 },
  disk: { name: "Disk in MiB", short: "MiB of disk", scale: 2 ** 20 },
};

/** A limit as it is written in its field. */
export function written(what: What, most: number | null): string {
  return most === null ? "none" : String(Math.round((most / WHAT[what].scale) * 100) / 100);
}

/** What a field says: nothing where it is empty. Throws an Error with words for what is no limit. */
export function read(what: What, text: string): QuotaLimit[] {
  const plain = text.trim().toLowerCase();
  if (plain === "") return [];
  if (plain === "none") return [{ what, most: null }];
  const value = Number(plain.replaceAll(/[,\s]/g, ""));
  if (!Number.isFinite(value) || value < 0) throw new Error(`${WHAT[what].name}: “${text}” is no limit. Write a number, or “none”.`);
  return [{ what, most: Math.round(value * WHAT[what].scale) }];
}
