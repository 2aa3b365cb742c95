import { request, send } from "../connection";
import type { AuthState, Leave, MadeToken, QuotaList, SessionList, TokenList, Visit } from "../protocol";

const at = (kind: string, id: string) => `/api/auth/${kind}/${encodeURIComponent(id)}`;

export const accounts = {
  state: (): Promise<AuthState> => request("/api/auth/state"),
  signIn: (email: string, password: string): Promise<unknown> => send("POST", "/api/auth/login", { email, password }),
  signOut: (): Promise<unknown> => send("POST", "/api/auth/logout", {}),
  register: (email: string, name: string, password: string, invite: string | null): Promise<unknown> =>
    send("POST", "/api/auth/register", { email, name, password, ...(invite === null ? {} : { invite }) }),
  changePassword: (old: string, password: string): Promise<unknown> =>
    send("POST", "/api/auth/password", { old: old || null, new: password }),
  reset: (token: string, password: string): Promise<unknown> => send("POST", "/api/auth/reset", { token, password }),
  sessions: (): Promise<SessionList> => request("/api/auth/sessions"),
  endSession: (id: string): Promise<unknown> => send("DELETE", at("sessions", id)),
  tokens: (): Promise<TokenList> => request("/api/auth/tokens"),
  makeToken: (label: string, scopes: string[], days: number | null): Promise<MadeToken> =>
    send("POST", "/api/auth/tokens", { label, scopes, days }),
  dropToken: (id: string): Promise<unknown> => send("DELETE", at("tokens", id)),
  /** The browser leaves for the provider. */
  visit: async (id: string, visit: Visit): Promise<void> => {
    const { location: there } = await send<Leave>("POST", providerPath(id), visit);
    location.assign(there);
  },
  quota: (): Promise<QuotaList> => request("/api/quota"),
};

/** Where signing in at another provider begins: the browser goes there by itself. */
export const providerPath = (id: string) => `${at("oidc", id)}/start`;
