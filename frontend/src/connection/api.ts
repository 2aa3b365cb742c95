import type { ConversationList, ConversationPage, ConversationSummary } from "../protocol";

/** A request that was answered with an error, or not at all. `words` are for people; `status` is 0 without an answer. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, words: string) {
    super(words);
    this.status = status;
  }
}

const WORDS: Record<number, string> = {
  0: "The server does not answer. It may be restarting; this page tries again by itself.",
  403: "This page has no session here. Open the chat at its own address, or reload the page.",
  404: "This conversation does not exist, or not any more.",
};

async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { ...init, headers }).catch(() => null);
  if (!answer) throw new ApiError(0, WORDS[0]!);
  if (!answer.ok) throw new ApiError(answer.status, WORDS[answer.status] ?? `The server could not do that (${answer.status}).`);
  return (answer.status === 204 ? null : await answer.json()) as T;
}

const at = (id: string) => `/api/conversations/${encodeURIComponent(id)}`;

export const api = {
  list: (limit: number, before: string | null): Promise<ConversationList> => {
    const query = new URLSearchParams({ limit: String(limit), ...(before === null ? {} : { before }) });
    return request(`/api/conversations?${query}`);
  },
  create: (id: string): Promise<ConversationSummary> => request(at(id), { method: "PUT", body: "{}" }),
  page: (id: string): Promise<ConversationPage> => request(at(id)),
  rename: (id: string, title: string): Promise<unknown> =>
    request(at(id), { method: "PATCH", body: JSON.stringify({ title }) }),
  remove: (id: string): Promise<unknown> => request(at(id), { method: "DELETE" }),
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
