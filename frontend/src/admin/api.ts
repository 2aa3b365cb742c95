import { request, send } from "../connection";
import type { InviteLine, UserLine } from "../protocol";
import type { AuditEntry, LiveNow, ModelInfo, SettingInfo, UsageLine } from "./types";

const at = (path: string, ...ids: string[]) => [`/api/admin/${path}`, ...ids.map(encodeURIComponent)].join("/");

export const admin = {
  users: (): Promise<{ users: UserLine[] }> => request(at("users")),
  change: (id: string, part: Partial<Pick<UserLine, "role" | "disabled" | "group">>): Promise<unknown> => send("PATCH", at("users", id), part),
  resetLink: (id: string): Promise<{ link: string }> => send("POST", `${at("users", id)}/reset`, {}),
  invites: (): Promise<{ invites: InviteLine[] }> => request(at("invites")),
  invite: (email: string): Promise<{ link: string }> => send("POST", at("invites"), { email: email || null }),
  dropInvite: (id: string): Promise<unknown> => send("DELETE", at("invites", id)),
  live: (): Promise<LiveNow> => request(at("live")),
  stopTurn: (conversation: string, turn: string): Promise<unknown> => send("POST", `${at("turns", conversation, turn)}/stop`, {}),
  endSandbox: (conversation: string): Promise<unknown> => send("DELETE", at("sandboxes", conversation)),
  usage: (days: number): Promise<{ users: UsageLine[] }> => request(`${at("usage")}?days=${days}`),
  models: (): Promise<{ models: ModelInfo[] }> => request(at("models")),
  settings: (): Promise<{ settings: SettingInfo[] }> => request(at("settings")),
  audit: (before: number | null): Promise<{ entries: AuditEntry[]; more: boolean }> =>
    request(before === null ? at("audit") : `${at("audit")}?before=${before}`),
};
