import { amount } from "../ui/figures";
import { Problem } from "../ui/Form";
import { Section } from "../ui/Sheet";
import type { QuotaLine } from "../protocol";
import { When } from "../ui/When";
import { useLoaded } from "../ui/useLoaded";
import { accounts } from "./api";

const SHORT = 0.85;

/** What one may use, what is used, and when it begins anew. Nothing where nothing is limited. */
export function Quota() {
  const { value, words } = useLoaded(accounts.quota);
  const lines = value?.limits ?? [];
  if (lines.length === 0 && !words) return null;
  return (
    <Section title="What you can use">
      <Problem words={words} />
      {lines.map((line) => (
        <Meter key={line.what} line={line} />
      ))}
    </Section>
  );
}

function Meter({ line: { name, used, limit, remaining, unit, resets_at } }: { line: QuotaLine }) {
  if (limit === null || remaining === null) {
    return (
      <div className="meter">
        <span>{name}</span>
        <span>{amount(used, unit)}</span>
      </div>
    );
  }
  return (
    <div className={used >= limit * SHORT ? "meter short" : "meter"}>
      <span>{name}</span>
      <span>
        {amount(remaining, unit === "bytes" ? unit : "")} of {amount(limit, unit)} left
      </span>
      <progress aria-label={`${name}, used`} value={Math.min(used, limit)} max={Math.max(limit, 1)} />
      {resets_at !== null && <span className="aside">Begins anew <When at={resets_at} />.</span>}
    </div>
  );
}
