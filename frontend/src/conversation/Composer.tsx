import { useEffect, useRef, useState } from "react";
import type { KeyboardEvent } from "react";
import { Icon } from "../ui/Icon";
import { drafts } from "./drafts";

interface Props {
  /** Whose draft this is. */
  conversation: string;
  /** A turn is open: nothing can be sent, but it can be stopped. */
  busy: boolean;
  stopping: boolean;
  model: string;
  lastText: string;
  onSend: (text: string) => void;
  onStop: () => void;
}

const TWICE_MS = 1500;

export function Composer({ conversation, busy, stopping, model, lastText, onSend, onStop }: Props) {
  const [text, setText] = useState(() => drafts.read(conversation));
  const area = useRef<HTMLTextAreaElement>(null);
  const escape = useEscapeTwice(busy && !stopping, onStop);

  const write = (value: string) => {
    setText(value);
    drafts.write(conversation, value);
  };
  const send = () => {
    if (busy || !text.trim()) return;
    onSend(text.trim());
    write("");
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && text === "" && lastText) {
      event.preventDefault();
      write(lastText);
    }
  };

  useFocusKey(area);

  return (
    <form
      className="box"
      aria-label="Message"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="grow" data-text={text}>
        <textarea
          ref={area}
          rows={1}
          value={text}
          aria-label="Your message"
          placeholder={busy ? "Write the next message; send it when this answer is complete" : "Ask anything that code can answer"}
          onChange={(event) => write(event.target.value)}
          onKeyDown={pressed}
        />
      </div>
      <div className="row">
        <span className="model">{model}</span>
        <span className="hint" role="status">
          {escape ? "Press Esc again to stop" : ""}
        </span>
        {busy ? (
          <button type="button" className="stop" onClick={onStop} disabled={stopping}>
            <Icon name="stop" />
            {stopping ? "Stopping…" : "Stop"}
          </button>
        ) : (
          <button type="submit" className="send" disabled={!text.trim()} aria-label="Send" title="Send (Enter)">
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}

/** ⇧Esc comes back to the composer from anywhere; a page with a keyboard begins there. */
function useFocusKey(area: React.RefObject<HTMLTextAreaElement | null>): void {
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) area.current?.focus({ preventScroll: true });
    const pressed = (event: globalThis.KeyboardEvent) => {
      if (event.key === "Escape" && event.shiftKey) area.current?.focus();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [area]);
}

/** Esc asks, Esc again within a moment stops. True while it asks. */
function useEscapeTwice(active: boolean, stop: () => void): boolean {
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (!active) return;
    const pressed = (event: globalThis.KeyboardEvent) => {
      if (event.key !== "Escape" || event.shiftKey || event.defaultPrevented) return;
      if (asked) stop();
      setAsked(!asked);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [active, asked, stop]);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => setAsked(false), TWICE_MS);
    return () => clearTimeout(timer);
  }, [asked]);
  return active && asked;
}
