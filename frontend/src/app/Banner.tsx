import { useEffect, useState } from "react";
import { trouble, unready } from "../connection";
import type { Part, Status } from "../connection";
import { Icon } from "../ui/Icon";

const CHECK_S = 30;
const AGAIN_S = 3;

/** Says, in words and out of the way, what does not work right now. Reading is never prevented. */
export function Banner({ status, onReconnect }: { status: Status; onReconnect: () => void }) {
  const parts = useUnready(status.state === "open");
  const wrong = trouble(status);
  if (!wrong) return parts.map((part) => <Strip key={part.name} words={part.words || `The ${part.name} is not ready.`} />);
  return (
    <Strip words={wrong.words}>
      {wrong.again && (
        <button type="button" className="button" onClick={onReconnect} disabled={status.state === "connecting"}>
          {status.state === "connecting" ? "Connecting…" : "Try now"}
        </button>
      )}
      {status.state === "stopped" && (
        <button type="button" className="button" onClick={() => location.reload()}>
          Reload
        </button>
      )}
    </Strip>
  );
}

function Strip({ words, children }: { words: string; children?: React.ReactNode }) {
  return (
    <div className="banner" role="status">
      <Icon name="warn" />
      <span>{words}</span>
      {children}
    </div>
  );
}

/** Parts of the server that were not ready twice in a row: asked when the connection opens, and for as long as it is. */
function useUnready(connected: boolean): Part[] {
  const [parts, setParts] = useState<Part[]>([]);
  useEffect(() => {
    if (!connected) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const check = async (before: Part[]) => {
      const found = (await unready()).filter(({ name }) => name !== "bus"); // the connection itself hears of that, at once
      if (over) return;
      setParts(found.filter(({ name }) => before.some((part) => part.name === name)));
      timer = setTimeout(() => void check(found), (found.length > 0 ? AGAIN_S : CHECK_S) * 1000);
    };
    void check([]);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [connected]);
  return connected ? parts : [];
}
