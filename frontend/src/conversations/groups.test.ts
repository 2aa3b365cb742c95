import { expect, it } from "vitest";
import { grouped } from "./groups";

it("groups by the reader's own days", () => {
  const now = new Date(2026, 4, 10, 0, 30);
  const line = (id: string, hoursAgo: number) => ({ id, title: id, running: false, created_at: 0, updated_at: now.getTime() / 1000 - hoursAgo * 3600 });
  const groups = grouped([line("a", 0.1), line("b", 1), line("c", 30), line("d", 2000)], now);
  expect(groups.map(({ name, lines }) => [name, lines.map(({ id }) => id)])).toEqual([
    ["Today", ["a"]],
    ["Yesterday", ["b"]],
    ["Last seven days", ["c"]],
    ["Earlier", ["d"]],
  ]);
});
