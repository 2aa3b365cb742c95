import type { Item, Output, Turn } from "../protocol";
import { plain } from "./output/ansi";

/** A whole answer as Markdown: prose, code, and what the code printed. */
export function asMarkdown(turn: Turn): string {
  return turn.items.map(part).filter(Boolean).join("\n\n");
}

function part(item: Item): string {
  if (item.kind === "prose") return item.text.trim();
  return [fence(item.code, "python"), ...item.outputs.map(printed)].filter(Boolean).join("\n\n");
}

function printed(output: Output): string {
  switch (output.kind) {
    case "text":
      return fence(plain(output.text), "");
    case "error":
      return fence(`${output.ename}: ${plain(output.evalue)}`, "");
    case "omitted":
      return "";
    case "rich": {
      const text = output.data["text/markdown"] ?? output.data["text/plain"];
      return typeof text === "string" ? fence(text, "") : "";
    }
  }
}

/** A fence longer than any run of backticks within. */
function fence(text: string, language: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const ticks = "`".repeat(longest + 1);
  return `${ticks}${language}\n${text.replace(/\n$/, "")}\n${ticks}`;
}
