export interface LiveTurn { conversation: string; turn: string; user: string; user_name: string; opened_at: number }
export interface LiveSandbox { conversation: string; user: string; user_name: string; state: string; memory_used: number | null }
export interface LiveNow { turns: LiveTurn[]; sandboxes: LiveSandbox[] }
export interface UsageLine { user: string; user_name: string; messages: number; model_tokens: number; cpu_seconds: number; disk_bytes: number }
export interface ModelInfo { name: string; url: string; profile: string; ok: boolean; words: string }
export interface SettingInfo { name: string; value: string; about: string }
export interface AuditEntry { id: number; at: number; actor: string; action: string; subject: string; details: Record<string, unknown> }
