import { expect, it } from "vitest";
import { amount, bytes, spell } from "./figures";

it.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1.5 * 2 ** 20, "1.5 MiB"],
  [300 * 2 ** 30, "300 GiB"],
  [2 ** 51, "2048 TiB"],
])("%d bytes are %s", (size, words) => {
  expect(bytes(size)).toBe(words);
});

it("counts have their unit", () => {
  expect(amount(12, "messages")).toBe("12 messages");
  expect(amount(2.34, "seconds")).toBe("2.3 seconds");
  expect(amount(2048, "bytes")).toBe("2.0 KiB");
});

it.each([
  [0.4, "0 s"],
  [59.4, "59 s"],
  [61, "1 min 1 s"],
  [7260, "2 h 1 min"],
])("%d seconds are %s", (seconds, words) => {
  expect(spell(seconds)).toBe(words);
});
