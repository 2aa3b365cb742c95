import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import type { Connection } from "../connection";
import { Conversation } from "../conversation";
import { Sidebar } from "../conversations";
import type { Conversations } from "../conversations";
import { Icon } from "../ui/Icon";
import { ThemeToggle } from "../ui/ThemeToggle";
import { Banner } from "./Banner";
import { Account, SignInProblem } from "../account";
import type { User } from "../account";
import { Admin } from "../admin";
import { Foot } from "./Foot";
import { go, usePlace } from "./route";
import { Start } from "./Start";

interface Props {
  connection: Connection;
  conversations: Conversations;
  /** Null where the server has no accounts. */
  me: User | null;
}

export function App({ connection, conversations, me }: Props) {
  const place = usePlace();
  const id = place.page === "conversation" ? place.id : null;
  const status = useSyncExternalStore(connection.watch, connection.read);
  const { forbidden, words } = useSyncExternalStore(conversations.watch, conversations.read);
  const [drawer, setDrawer] = useState(false);

  const close = useCallback(() => setDrawer(false), []);
  const open = useCallback(
    (next: string | null) => {
      go({ page: "conversation", id: next });
      close();
    },
    [close],
  );
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
      <Sidebar conversations={conversations} current={id} onOpen={open} foot={me && <Foot me={me} onGo={close} />} />
      {drawer && <button type="button" className="scrim" aria-label="Close the list" onClick={() => setDrawer(false)} />}
      <div className="page">
        {me && <SignInProblem />}
        <Banner status={status} onReconnect={() => connection.wake()} />
        {me && place.page === "account" ? (
          <Account me={me} before={before} after={after} />
        ) : me?.role === "admin" && place.page === "admin" ? (
          <Admin tab={place.tab} onTab={(tab) => go({ page: "admin", tab })} before={before} after={after} />
        ) : id === null ? (
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
