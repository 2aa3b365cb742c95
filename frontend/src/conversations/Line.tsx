import { useState } from "react";
import type { ConversationSummary } from "../protocol";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";

interface Props {
  summary: ConversationSummary;
  current: boolean;
  onOpen: () => void;
  onRename: (title: string) => void;
  onRemove: () => void;
}

/** One conversation in the list: open it, rename it, delete it. */
export function Line({ summary, current, onOpen, onRename, onRemove }: Props) {
  const [doing, setDoing] = useState<"reading" | "renaming" | "deleting">("reading");
  const title = summary.title || "New conversation";
  const back = () => setDoing("reading");

  if (doing === "renaming") {
    return (
      <li>
        <TitleField
          title={title}
          onDone={(next) => {
            back();
            if (next && next !== title) onRename(next);
          }}
        />
      </li>
    );
  }
  if (doing === "deleting") return <Sure title={title} onYes={onRemove} onNo={back} />;
  return (
    <li className={current ? "on" : undefined}>
      <a
        href={`/c/${summary.id}`}
        aria-current={current ? "page" : undefined}
        title={title}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          onOpen();
        }}
      >
        <span className="title">{title}</span>
        {summary.running && (
          <span className="run" role="img" aria-label="working">
            <Icon name="live" />
          </span>
        )}
      </a>
      <Menu label={<Icon name="more" />} title={`Actions for ${title}`}>
        {(close) => (
          <>
            <button
              type="button"
              role="menuitem"
              onClick={() => {
                close();
                setDoing("renaming");
              }}
            >
              <Icon name="pencil" />
              Rename
            </button>
            <button
              type="button"
              role="menuitem"
              onClick={() => {
                close();
                setDoing("deleting");
              }}
            >
              <Icon name="trash" />
              Delete
            </button>
          </>
        )}
      </Menu>
    </li>
  );
}

function TitleField({ title, onDone }: { title: string; onDone: (title: string | null) => void }) {
  const [text, setText] = useState(title);
  return (
    <input
      className="rename"
      aria-label="Title"
      value={text}
      maxLength={200}
      autoFocus
      onFocus={(event) => event.target.select()}
      onChange={(event) => setText(event.target.value)}
      onBlur={() => onDone(text.trim() || null)}
      onKeyDown={(event) => {
        if (event.key === "Enter") onDone(text.trim() || null);
        if (event.key === "Escape") {
          event.preventDefault();
          onDone(null);
        }
      }}
    />
  );
}

function Sure({ title, onYes, onNo }: { title: string; onYes: () => void; onNo: () => void }) {
  return (
    <li className="sure" role="alertdialog" aria-label={`Delete ${title}?`}>
      <span>Delete this conversation and its files?</span>
      <button type="button" className="button bad" onClick={onYes}>
        Delete
      </button>
      <button type="button" className="button" autoFocus onClick={onNo}>
        Keep
      </button>
    </li>
  );
}
