import { useCallback, useEffect, useState } from "react";
import type { ReactNode } from "react";
import { ApiError } from "../connection";
import { accounts } from "./api";
import { Door } from "./Door";
import { Entrance } from "./Entrance";
import { takeSecret } from "./secrets";
import type { AuthState } from "../protocol";

const AGAIN_MS = 3000;

/** Shows the chat to whoever may see it, and the way in to everybody else. `children` get who that is: null where the
 * server has no accounts. */
export function Gate({ children }: { children: (me: AuthState["user"]) => ReactNode }) {
  const [state, setState] = useState<AuthState | null>(null);
  const [words, setWords] = useState("");
  const load = useCallback(async () => {
    try {
      setState(await accounts.state());
      setWords("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setWords(error.message);
    }
  }, []);
  useEffect(() => {
    const first = setTimeout(() => void load());
    return () => clearTimeout(first);
  }, [load]);
  useEffect(() => {
    if (!words) return;
    const timer = setInterval(() => void load(), AGAIN_MS);
    return () => clearInterval(timer);
  }, [words, load]);

  if (state === null) {
    return words ? (
      <Door title="One moment">
        <p className="aside">{words}</p>
      </Door>
    ) : null;
  }
  if (state.mode === "none") return children(null);
  if (state.user === null || takeSecret("reset") !== null) return <Entrance state={state} onIn={() => void load()} />;
  return children(state.user);
}
