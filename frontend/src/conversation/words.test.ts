import { expect, it } from "vitest";
import { duration, intent, kernelWords, size } from "./words";

it("says sizes and times as people do", () => {
  expect([0, 999, 1024, 190_840_832, 1_073_741_824].map(size)).toEqual(["0 B", "999 B", "1 kB", "182 MB", "1 GB"]);
  expect([0.04, 0.42, 12.4, 61, 3700].map(duration)).toEqual(["0.0 s", "0.4 s", "12 s", "1 min 1 s", "1 h 1 min"]);
});

it("says how the kernel is", () => {
  expect(kernelWords({ state: "busy", words: "", memory_used: 190_840_832, memory_limit: 1_073_741_824 })).toEqual({ state: "kernel busy", memory: "182 MB of 1 GB" });
  expect(kernelWords({ state: "none", words: "", memory_used: null, memory_limit: null })).toEqual({ state: "", memory: "" });
});

it("takes the first comment for what the code is about", () => {
  expect(intent("# Growth by region\nx = 1")).toBe("Growth by region");
  expect(intent("x = 1  # no")).toBe("");
});
