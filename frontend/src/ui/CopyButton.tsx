import { useEffect, useState } from "react";
import { Icon } from "./Icon";

/** Copies `text`; a function is asked only when the button is pressed. */
export function CopyButton({ text, what }: { text: string | (() => string); what: string }) {
  const [state, setState] = useState<"idle" | "copied" | "failed">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = setTimeout(() => setState("idle"), 1500);
    return () => clearTimeout(timer);
  }, [state]);

  const copy = () => {
    const value = typeof text === "string" ? text : text();
    // Without a secure context there is no clipboard at all.
    const written = navigator.clipboard?.writeText(value) ?? Promise.reject(new Error("no clipboard"));
    written.then(
      () => setState("copied"),
      () => setState("failed"),
    );
  };
  const label = { idle: `Copy ${what}`, copied: "Copied", failed: "Could not copy" }[state];
  return (
    <button type="button" className="quiet copy" onClick={copy} aria-label={label} title={label}>
      <Icon name={state === "copied" ? "check" : "copy"} />
    </button>
  );
}
