// The golden streams of tests/streams/, which Python wrote and folded: we must come to the same view.
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Event, Kernel, Live, View } from "../protocol";
import { apply, fold, ofPage } from "./fold";

const folder = new URL("../../../tests/streams/", import.meta.url);
const read = (name: string) => readFileSync(new URL(name, folder), "utf8");

interface Stream {
  events: Event[];
  view: View;
}

function stream(name: string): Stream {
  const lines = read(`${name}.jsonl`).trimEnd().split("\n").map((line) => JSON.parse(line) as { event: Event; view: View });
  return { events: lines.slice(0, -1).map(({ event }) => event), view: lines.at(-1)!.view };
}

const names = readdirSync(folder).filter((name) => name.endsWith(".jsonl")).map((name) => name.replace(".jsonl", ""));
const joins = JSON.parse(read("joins.json")) as { stream: string; after: number; live: Live | null; kernel: Kernel }[];
const isDurable = (event: Event) => "seq" in event;

describe("golden streams", () => {
  it("are there", () => expect(names.length).toBeGreaterThan(10));

  it.each(names)("%s folds to the view that Python has", (name) => {
    const { events, view } = stream(name);
    expect(fold(events)).toEqual(view);
  });

  it.each(joins.map((join) => [`${join.stream} after ${join.after}`, join] as const))("joining %s is seeing it all", (_, join) => {
    const { events, view } = stream(join.stream);
    const joined = ofPage({ events: events.slice(0, join.after).filter(isDurable), live: join.live, kernel: join.kernel } as Parameters<typeof ofPage>[0]);
    expect(events.slice(join.after).reduce(apply, joined)).toEqual(view);
  });

  it.each(names)("%s seen twice, from any place on, changes nothing", (name) => {
    const { events, view } = stream(name);
    if (view.gap) return;
    for (let again = 0; again < events.length; again++) {
      const twice = [...events, ...events.slice(again)].reduce(apply, fold([]));
      expect({ ...twice, kernel: view.kernel }).toEqual(view);
    }
  });
});
