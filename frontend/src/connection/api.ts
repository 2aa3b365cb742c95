import type { ConversationList, ConversationPage, ConversationSummary } from "../protocol";

/** A request that was answered with an error, or not at all. `words` are for people; `status` is 0 without an answer. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, words: string) {
    super(words);
    this.status = status;
  }
}

const SILENT = "The server does not answer. It may be restarting; this page tries again by itself.";

/** What the server says about a request that it refuses, else words of our own. */
async function words(answer: Response): Promise<string> {
  const said: unknown = await answer.json().catch(() => null);
  const detail = (said as { detail?: unknown } | null)?.detail;
  return typeof detail === "string" && detail ? detail : `The server could not do that (${answer.status}).`;
}

/** One request for JSON. Throws ApiError. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { ...init, headers }).catch(() => null);
  if (!answer) throw new ApiError(0, SILENT);
  if (!answer.ok) throw new ApiError(answer.status, await words(answer));
  return (answer.status === 204 ? null : await answer.json()) as T;
}

/** The same with a body. */
export function send<T>(method: "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
  return request(path, body === undefined ? { method } : { method, body: JSON.stringify(body) });
}

const at = (id: string) => `/api/conversations/${encodeURIComponent(id)}`;

export const api = {
  list: (limit: number, before: string | null): Promise<ConversationList> => {
    const query = new URLSearchParams({ limit: String(limit), ...(before === null ? {} : { before }) });
    return request(`/api/conversations?${query}`);
  },
  create: (id: string): Promise<ConversationSummary> => send("PUT", at(id), {}),
  page: (id: string): Promise<ConversationPage> => request(at(id)),
  rename: (id: string, title: string): Promise<unknown> => send("PATCH", at(id), { title }),
  remove: (id: string): Promise<unknown> => send("DELETE", at(id)),
};

/** One part of the server, as `/readyz` tells it. */
export interface Part {
  name: string;
  ok: boolean;
  words: string;
}

/** The parts that are not ready. An answer with an error status still carries them; no answer gives none. */
export async function unready(): Promise<Part[]> {
  const answer = await fetch("/readyz").catch(() => null);
  const body: unknown = await answer?.json().catch(() => null);
  const parts = (body as { parts?: Part[] } | null)?.parts ?? [];
  return parts.filter((part) => !part.ok);
}
