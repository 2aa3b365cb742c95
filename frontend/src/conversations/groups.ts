import type { ConversationSummary } from "../protocol";

export interface Group {
  name: string;
  lines: ConversationSummary[];
}

const DAY_MS = 86_400_000;

/** The list by age, in the reader's own days. `lines` are newest first, and so are the groups. */
export function grouped(lines: readonly ConversationSummary[], now: Date): Group[] {
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const groups: Group[] = [];
  for (const line of lines) {
    const name = nameOf(line.updated_at * 1000, today);
    const last = groups.at(-1);
    if (last?.name === name) last.lines.push(line);
    else groups.push({ name, lines: [line] });
  }
  return groups;
}

function nameOf(at: number, today: number): string {
  if (at >= today) return "Today";
  if (at >= today - DAY_MS) return "Yesterday";
  if (at >= today - 7 * DAY_MS) return "Last seven days";
  return "Earlier";
}
