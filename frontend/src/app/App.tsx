import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import type { Connection } from "../connection";
import { Conversation } from "../conversation";
import { Sidebar } from "../conversations";
import type { Conversations } from "../conversations";
import { Icon } from "../ui/Icon";
import { ThemeToggle } from "../ui/ThemeToggle";
import { Banner } from "./Banner";
import { go, useRoute } from "./route";
import { Start } from "./Start";

export function App({ connection, conversations }: { connection: Connection; conversations: Conversations }) {
  const id = useRoute();
  const status = useSyncExternalStore(connection.watch, connection.read);
  const { forbidden, words } = useSyncExternalStore(conversations.watch, conversations.read);
  const [drawer, setDrawer] = useState(false);

  const open = useCallback((next: string | null) => {
    go(next);
    setDrawer(false);
  }, []);
  useNewKey(open);
  useEffect(() => {
    if (forbidden) connection.stop(words);
  }, [forbidden, words, connection]);
  useEffect(() => {
    if (id === null) document.title = "CodeAct Chat";
  }, [id]);

  const before = (
    <button type="button" className="quiet drawer-button" aria-label="Conversations" aria-expanded={drawer} onClick={() => setDrawer(!drawer)}>
      <Icon name="menu" />
    </button>
  );
  const after = <ThemeToggle />;
  return (
    <div className="app" data-drawer={drawer || undefined} onKeyDown={(event) => event.key === "Escape" && setDrawer(false)}>
      <Sidebar conversations={conversations} current={id} onOpen={open} />
      {drawer && <button type="button" className="scrim" aria-label="Close the list" onClick={() => setDrawer(false)} />}
      <div className="page">
        <Banner status={status} onReconnect={() => connection.wake()} />
        {id === null ? (
          <Start model={status.state === "open" ? status.model : ""} before={before} after={after} onStart={open} />
        ) : (
          <Conversation key={id} id={id} connection={connection} status={status} before={before} after={after} />
        )}
      </div>
    </div>
  );
}

/** ⌘⇧O begins a new conversation. */
function useNewKey(open: (id: null) => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "o" || !event.shiftKey || !(event.metaKey || event.ctrlKey)) return;
      event.preventDefault();
      open(null);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [open]);
}
