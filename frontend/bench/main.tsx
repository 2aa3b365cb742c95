import { memo, useEffect, useState, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import type { Root } from "react-dom/client";
import "../src/app/styles";
import type { Connection } from "../src/connection";
import { Session } from "../src/conversation/session";
import { Thread } from "../src/conversation/Thread";
import type { Frame } from "../src/protocol";
import { answer } from "./sample";

/** Frames come as text, as from a socket, in both ways of showing them. */
type Feed = (told: string) => void;

interface Bench {
  /** Streams `size` characters at `rate` tokens a second, shown `how`; resolves when all is on the screen. */
  run: (how: "page" | "frame" | "commit", size: number, rate: number) => Promise<{ longest: number; shown: number }>;
}

declare global {
  interface Window {
    bench: Bench;
  }
}

let root: Root | null = null;

/** The real session, fold and components, on a connection that only this page knows. */
function page(): Feed {
  const listeners: ((frame: Frame) => void)[] = [];
  const connection = {
    listen: (listener: (frame: Frame) => void) => {
      listeners.push(listener);
      return () => undefined;
    },
    send: ({ type, conversation }: { type: string; conversation: string }) => {
      if (type === "subscribe") queueMicrotask(() => tell({ type: "subscribed", conversation }));
      return true;
    },
  } as unknown as Connection;
  const tell = (frame: Frame) => listeners.forEach((listener) => listener(frame));
  const session = new Session("bench", connection);

  function Page() {
    const state = useSyncExternalStore(session.watch, session.read);
    useEffect(() => session.open(), []);
    return (
      <main style={{ height: "100vh" }}>
        <Thread session={session} state={state} model="" />
      </main>
    );
  }
  root!.render(<Page />);
  return (told) => tell(JSON.parse(told) as Frame);
}

/** The floor: the same text as one string, rendered by React, as often as `later` calls. */
function plain(later: (show: () => void) => void): Feed {
  let text = "";
  let show: ((text: string) => void) | null = null;
  let due = false;
  const Plain = memo(function Plain() {
    const [shown, setShown] = useState("");
    useEffect(() => {
      show = setShown;
    }, []);
    return (
      <main style={{ height: "100vh" }}>
        <div className="scroll">
          <div className="col">
            <p style={{ whiteSpace: "pre-wrap" }}>{shown}</p>
          </div>
        </div>
      </main>
    );
  });
  root!.render(<Plain />);
  return (told) => {
    const frame = JSON.parse(told) as Frame;
    if (frame.type !== "told" || frame.event.type !== "text.delta") return;
    text += frame.event.text;
    if (due) return;
    due = true;
    later(() => {
      due = false;
      show?.(text);
    });
  };
}

const FEEDS = {
  page,
  frame: () => plain(requestAnimationFrame),
  commit: () => plain((show) => setTimeout(show, 50)),
};

const told = (event: unknown) => JSON.stringify({ type: "told", conversation: "bench", cursor: "1", event });

window.fetch = () =>
  Promise.resolve(
    new Response(
      JSON.stringify({
        summary: { id: "bench", title: "Bench", created_at: 0, updated_at: 0, running: false },
        events: [],
        live: null,
        cursor: "0",
        kernel: { state: "none", words: "", memory_used: null, memory_limit: null },
      }),
    ),
  );

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

window.bench = {
  async run(how, size, rate) {
    root?.unmount();
    root = createRoot(document.getElementById("root")!);
    const feed = FEEDS[how]();
    await pause(500);
    const tokens = answer(size).match(/\S{1,5}\s*|\s+/g) ?? [];
    let longest = 0;
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration);
    });
    observer.observe({ type: "longtask" });
    feed(told({ type: "turn.opened", seq: 1, turn: "t", at: Date.now() / 1000, text: "Go", via: "browser" }));
    let offset = 0;
    const began = performance.now();
    for (let at = 0; at < tokens.length; at++) {
      const wait = began + (at * 1000) / rate - performance.now();
      if (wait > 0) await pause(wait);
      const text = tokens[at]!;
      feed(told({ type: "text.delta", turn: "t", step: 0, offset, text }));
      offset += text.length;
    }
    await pause(300);
    observer.disconnect();
    return { longest, shown: document.querySelector(".col")?.textContent?.length ?? 0 };
  },
};
