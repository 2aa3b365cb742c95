import type { UsageDay } from "../protocol";
import { amount } from "../ui/figures";

const date = (day: number) => new Date(day * 1000).toLocaleDateString(undefined, { timeZone: "UTC", month: "short", day: "numeric" });

/** Messages of everybody, a bar a day; what a bar says is also its text. */
export function Days({ days }: { days: readonly UsageDay[] }) {
  const most = Math.max(1, ...days.map((day) => day.messages));
  return (
    <ol className="days" aria-label="Messages by day">
      {days.map((day) => {
        const words = `${date(day.day)}: ${amount(day.messages, day.messages === 1 ? "message" : "messages")}, ${amount(day.model_tokens, "tokens")}`;
        return (
          <li key={day.day} title={words}>
            <span className="unseen">{words}</span>
            <i style={{ height: `${(100 * day.messages) / most}%` }} aria-hidden="true" />
          </li>
        );
      })}
    </ol>
  );
}
