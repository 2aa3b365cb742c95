import { amount } from "../ui/figures";
import { Problem } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { When } from "../ui/When";
import { useLoaded } from "../ui/useLoaded";
import { accounts } from "./api";
import type { QuotaLimit } from "./types";

const SHORT = 0.85;

/** What one may use, what is used, and when it begins anew. Nothing where nothing is limited. */
export function Quota() {
  const { value, words } = useLoaded(accounts.quota);
  const limits = value?.limits ?? [];
  if (limits.length === 0 && !words) return null;
  return (
    <Section title="What you can use">
      <Problem words={words} />
      {limits.map((limit) => (
        <Meter key={limit.what} limit={limit} />
      ))}
    </Section>
  );
}

function Meter({ limit: { what, used, limit, unit, resets_at } }: { limit: QuotaLimit }) {
  if (limit === null) {
    return (
      <div className="meter">
        <span>{what}</span>
        <span>{amount(used, unit)}</span>
      </div>
    );
  }
  const left = Math.max(0, limit - used);
  return (
    <div className={used >= limit * SHORT ? "meter short" : "meter"}>
      <span>{what}</span>
      <span>
        {amount(left, "")} of {amount(limit, unit)} left
      </span>
      <progress aria-label={`${what}, used`} value={Math.min(used, limit)} max={Math.max(limit, 1)} />
      {resets_at !== null && <span className="aside">Begins anew <When at={resets_at} />.</span>}
    </div>
  );
}
