import { useSyncExternalStore } from "react";
import type { ReactNode } from "react";
import { Icon } from "../ui/Icon";
import { grouped } from "./groups";
import { Line } from "./Line";
import type { Conversations } from "./store";

interface Props {
  conversations: Conversations;
  current: string | null;
  onOpen: (id: string | null) => void;
  foot?: ReactNode;
}

export function Sidebar({ conversations, current, onOpen, foot }: Props) {
  const { conversations: lines, more, loaded, words } = useSyncExternalStore(conversations.watch, conversations.read);
  return (
    <nav className="sidebar" aria-label="Conversations">
      <div className="brand">
        <i aria-hidden="true" />
        CodeAct Chat
      </div>
      <button type="button" className="new" onClick={() => onOpen(null)}>
        <span>New conversation</span>
        <kbd>{shortcut()}</kbd>
      </button>
      <div className="list">
        {words && <p className="aside">{words}</p>}
        {loaded && lines.length === 0 && <p className="aside">Nothing here yet.</p>}
        {grouped(lines, new Date()).map(({ name, lines: members }) => (
          <section key={name} aria-label={name}>
            <h2>{name}</h2>
            <ul>
              {members.map((summary) => (
                <Line
                  key={summary.id}
                  summary={summary}
                  current={summary.id === current}
                  onOpen={() => onOpen(summary.id)}
                  onRename={(title) => void conversations.rename(summary.id, title)}
                  onRemove={() => {
                    if (summary.id === current) onOpen(null);
                    void conversations.remove(summary.id);
                  }}
                />
              ))}
            </ul>
          </section>
        ))}
        {more && (
          <button type="button" className="quiet older" onClick={() => void conversations.more()}>
            <Icon name="down" />
            Show older
          </button>
        )}
      </div>
      {foot}
    </nav>
  );
}

function shortcut(): string {
  return navigator.platform.startsWith("Mac") ? "⌘⇧O" : "Ctrl ⇧ O";
}
