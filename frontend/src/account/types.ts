export interface QuotaLine { what: string; name: string; used: number; limit: number | null; remaining: number | null; unit: string; resets_at: number | null }
