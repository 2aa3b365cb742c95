export interface QuotaLimit { what: string; used: number; limit: number | null; unit: string; resets_at: number | null }
