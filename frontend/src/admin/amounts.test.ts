import { expect, it } from "vitest";
import { read, written } from "./amounts";

it.each([
  ["messages", "", []],
  ["messages", " 100 ", [{ what: "messages", most: 100 }]],
  ["messages", "1,000", [{ what: "messages", most: 1000 }]],
  ["messages", "None", [{ what: "messages", most: null }]],
  ["messages", "0", [{ what: "messages", most: 0 }]],
  ["disk", "1.5", [{ what: "disk", most: 1572864 }]],
] as const)("%s %o is %o", (what, text, limits) => {
  expect(read(what, text)).toEqual(limits);
});

it.each(["-1", "many", "1e999", "NaN"])("%s is refused in words", (text) => {
  expect(() => read("messages", text)).toThrow(/is no limit/);
});

it("what is written is read as it was", () => {
  expect(read("disk", written("disk", 500 * 2 ** 20))).toEqual([{ what: "disk", most: 500 * 2 ** 20 }]);
  expect(written("cpu_seconds", null)).toBe("none");
});
