import { describe, expect, it } from "vitest";
import type { Frame } from "../protocol";
import { backoff, classify } from "./classify";
import { Connection } from "./connection";
import type { Socket } from "./connection";
import { trouble } from "./words";

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  sent: string[] = [];
  closed = false;
  send(data: string): void {
    this.sent.push(data);
  }
  close(): void {
    this.closed = true;
  }
  tell(frame: Frame): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}

/** A world whose clock is turned by hand. */
function fakeWorld() {
  const sockets: FakeSocket[] = [];
  const timers = new Set<{ at: number; run: () => void }>();
  let now = 0;
  const world = {
    open: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket;
    },
    random: () => 1,
    after: (seconds: number, run: () => void) => {
      const timer = { at: now + seconds, run };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
  };
  const pass = (seconds: number) => {
    const end = now + seconds;
    for (;;) {
      const due = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      timers.delete(due);
      now = due.at;
      due.run();
    }
    now = end;
  };
  return { world, sockets, pass, latest: () => sockets.at(-1)! };
}

const HELLO: Frame = { type: "hello", protocol: 1, model: "m" };

function connected() {
  const fake = fakeWorld();
  const connection = new Connection(fake.world);
  connection.start();
  fake.latest().tell(HELLO);
  return { ...fake, connection };
}

describe("close codes", () => {
  it("retry what is lost, stop where retrying cannot help", () => {
    expect(classify(1006)).toEqual({ action: "retry", at_once: false });
    expect(classify(1001).action).toBe("retry");
    expect(classify(4408)).toEqual({ action: "retry", at_once: true });
    expect(classify(4403).action).toBe("stop");
    expect(classify(4400).action).toBe("stop");
    expect(classify(1009).action).toBe("stop");
  });

  it("are waited out from one second to thirty, spread by chance", () => {
    expect([0, 1, 2, 3, 4, 5, 9].map((attempt) => backoff(attempt, () => 1))).toEqual([1, 2, 4, 8, 16, 30, 30]);
    expect(backoff(3, () => 0)).toBe(4);
  });
});

describe("the connection", () => {
  it("is open after hello and knows the model", () => {
    expect(connected().connection.status).toEqual({ state: "open", model: "m", late: false });
  });

  it("sends nothing before it is open", () => {
    const { world, latest } = fakeWorld();
    const connection = new Connection(world);
    connection.start();
    expect(connection.send({ type: "ping" })).toBe(false);
    expect(latest().sent).toEqual([]);
  });

  it("comes back after a loss, ever more patiently, and begins anew once it was open", () => {
    const { connection, sockets, latest, pass } = connected();
    latest().onclose?.({ code: 1006 });
    expect(connection.status).toEqual({ state: "waiting", attempt: 1 });
    pass(1);
    expect(sockets.length).toBe(2);
    latest().onclose?.({ code: 1006 });
    pass(1.9);
    expect(sockets.length).toBe(2);
    pass(0.2);
    expect(sockets.length).toBe(3);
    latest().tell(HELLO);
    latest().onclose?.({ code: 1006 });
    pass(1);
    expect(sockets.length).toBe(4);
  });

  it("pings when it is quiet for 15 s, and gives up on a server that stays silent for 10 more", () => {
    const { connection, latest, pass } = connected();
    pass(15);
    expect(latest().sent).toEqual(['{"type":"ping"}']);
    latest().tell({ type: "pong" });
    pass(15);
    expect(latest().sent.length).toBe(2);
    const silent = latest();
    pass(10);
    expect(silent.closed).toBe(true);
    expect(connection.status.state).toBe("waiting");
  });

  it("does not wait for ever for a handshake", () => {
    const { world, sockets, pass } = fakeWorld();
    new Connection(world).start();
    pass(11);
    expect(sockets[0]!.closed).toBe(true);
    expect(sockets.length).toBe(2);
  });

  it("wakes at once when the network is back", () => {
    const { connection, sockets, latest } = connected();
    latest().onclose?.({ code: 1006 });
    connection.wake();
    expect(sockets.length).toBe(2);
  });

  it("knows when the server cannot tell it what happens, until it can or another connection begins", () => {
    const { connection, latest, pass } = connected();
    latest().tell({ type: "delivery", live: false });
    expect(connection.status).toEqual({ state: "open", model: "m", late: true });
    expect(connection.send({ type: "ping" })).toBe(true);
    latest().tell({ type: "delivery", live: true });
    expect(connection.status).toMatchObject({ late: false });
    latest().tell({ type: "delivery", live: false });
    latest().onclose?.({ code: 1006 });
    pass(1);
    latest().tell(HELLO);
    expect(connection.status).toMatchObject({ state: "open", late: false });
  });

  it("stops with words when it is not wanted, or speaks another protocol", () => {
    const refused = connected();
    refused.latest().onclose?.({ code: 4403 });
    refused.pass(120);
    expect(refused.sockets.length).toBe(1);
    expect(refused.connection.status.state).toBe("stopped");

    const outdated = connected();
    outdated.latest().tell({ type: "hello", protocol: 2, model: "m" });
    expect(outdated.connection.status).toMatchObject({ state: "stopped" });
    expect(outdated.latest().closed).toBe(true);
  });
});

describe("words about the connection", () => {
  it("say that it reconnects, and nothing while all is well or has only begun", () => {
    expect(trouble({ state: "connecting", attempt: 0 })).toBeNull();
    expect(trouble({ state: "open", model: "m", late: false })).toBeNull();
    for (const status of [
      { state: "open", model: "m", late: true },
      { state: "waiting", attempt: 1 },
      { state: "connecting", attempt: 2 },
    ] as const) {
      expect(trouble(status)?.words).toMatch(/^Reconnecting… .*goes on.*catches up/);
      expect(trouble(status)?.again).toBe(status.state !== "open");
    }
  });

  it("are the server's own where it has hung up for good", () => {
    expect(trouble({ state: "stopped", words: "Reload." })).toEqual({ words: "Reload.", again: false });
  });
});
