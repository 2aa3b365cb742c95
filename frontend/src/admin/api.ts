import { request, send } from "../connection";
import type {
  AuditPage,
  InviteList,
  LiveNow,
  MadeInvite,
  ModelList,
  Quota,
  Quotas,
  ResetLink,
  SettingList,
  UsageReport,
  UserLine,
  UserList,
} from "../protocol";

const at = (path: string, ...ids: string[]) => [`/api/admin/${path}`, ...ids.map(encodeURIComponent)].join("/");

export type UserChange = Partial<Pick<UserLine, "role" | "disabled" | "group">>;

export const admin = {
  users: (): Promise<UserList> => request(at("users")),
  change: (id: string, part: UserChange): Promise<unknown> => send("PATCH", at("users", id), part),
  resetLink: (id: string): Promise<ResetLink> => send("POST", `${at("users", id)}/reset`, {}),
  invites: (): Promise<InviteList> => request(at("invites")),
  invite: (email: string): Promise<MadeInvite> => send("POST", at("invites"), { email: email || null }),
  dropInvite: (id: string): Promise<unknown> => send("DELETE", at("invites", id)),
  live: (): Promise<LiveNow> => request(at("live")),
  stopTurn: (conversation: string, turn: string): Promise<unknown> => send("POST", `${at("turns", conversation, turn)}/stop`, {}),
  endSandbox: (conversation: string): Promise<unknown> => send("DELETE", at("sandboxes", conversation)),
  usage: (days: number): Promise<UsageReport> => request(`${at("usage")}?days=${days}`),
  quotas: (): Promise<Quotas> => request(at("quotas")),
  setQuota: (quota: Quota): Promise<Quotas> => send("PUT", at("quotas"), quota),
  models: (): Promise<ModelList> => request(at("models")),
  settings: (): Promise<SettingList> => request(at("settings")),
  audit: (before: number | null): Promise<AuditPage> => request(before === null ? at("audit") : `${at("audit")}?before=${before}`),
};
