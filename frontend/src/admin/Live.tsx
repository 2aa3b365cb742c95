import { useEffect } from "react";
import { bytes, spell } from "../ui/figures";
import { Problem, useWork } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { When } from "../ui/When";
import { useLoaded } from "../ui/useLoaded";
import { admin } from "./api";

const EVERY_MS = 5000;

/** Turns and sandboxes of everybody, looked at anew every few seconds. */
export function Live() {
  const { value, words, again } = useLoaded(admin.live);
  const work = useWork();
  useEffect(() => {
    const timer = setInterval(() => void again(), EVERY_MS);
    return () => clearInterval(timer);
  }, [again]);
  return (
    <>
      <Problem words={work.words || words || (value?.words ?? "")} />
      <Section title="Answers being worked out">
        {value && (
          <Table
            label="Turns"
            keyOf={(turn) => turn.turn}
            rows={value.turns}
            empty="None at the moment."
            columns={[
              { name: "User", of: (turn) => turn.user_name || turn.user },
              { name: "Begun", of: (turn) => <When at={turn.opened_at} /> },
              {
                name: "",
                figure: true,
                of: (turn) => (
                  <button type="button" className="button bad" disabled={work.busy} onClick={() => work.run(() => admin.stopTurn(turn.conversation, turn.turn).finally(again))}>
                    Stop
                  </button>
                ),
              },
            ]}
          />
        )}
      </Section>
      <Section title="Sandboxes">
        {value && (
          <Table
            label="Sandboxes"
            keyOf={(sandbox) => sandbox.conversation}
            rows={value.sandboxes}
            empty="None at the moment."
            columns={[
              { name: "User", of: (sandbox) => sandbox.user_name || sandbox.user || "nobody any more" },
              { name: "State", of: (sandbox) => sandbox.state },
              { name: "Idle for", figure: true, of: (sandbox) => spell(sandbox.idle_s) },
              { name: "Disk", figure: true, of: (sandbox) => (sandbox.disk === null ? "unknown" : bytes(sandbox.disk)) },
              { name: "Memory", figure: true, of: (sandbox) => (sandbox.memory_used === null ? "unknown" : bytes(sandbox.memory_used)) },
              {
                name: "",
                figure: true,
                of: (sandbox) => (
                  <button type="button" className="button bad" disabled={work.busy} onClick={() => work.run(() => admin.endSandbox(sandbox.conversation).finally(again))}>
                    End
                  </button>
                ),
              },
            ]}
          />
        )}
      </Section>
    </>
  );
}
