import type { ReactNode } from "react";
import { Sheet } from "../ui/Sheet";
import { Audit } from "./Audit";
import { Limits } from "./Limits";
import { Live } from "./Live";
import { Models } from "./Models";
import { Settings } from "./Settings";
import { Usage } from "./Usage";
import { Users } from "./Users";

const TABS = [
  { id: "users", name: "Users", of: () => <Users /> },
  { id: "live", name: "Running now", of: () => <Live /> },
  { id: "usage", name: "Usage", of: () => <Usage /> },
  { id: "limits", name: "Limits", of: () => <Limits /> },
  { id: "models", name: "Models", of: () => <Models /> },
  { id: "settings", name: "Settings", of: () => <Settings /> },
  { id: "audit", name: "Audit log", of: () => <Audit /> },
] as const;

interface Props {
  tab: string;
  onTab: (tab: string) => void;
  before: ReactNode;
  after: ReactNode;
}

/** The administrator's view of the server. */
export function Admin({ tab, onTab, before, after }: Props) {
  const current = TABS.find(({ id }) => id === tab) ?? TABS[0];
  return (
    <Sheet title="Administration" before={before} after={after}>
      <nav className="tabs" aria-label="Administration">
        {TABS.map(({ id, name }) => (
          <a
            key={id}
            href={`/admin/${id}`}
            aria-current={id === current.id ? "page" : undefined}
            onClick={(event) => {
              if (event.metaKey || event.ctrlKey || event.shiftKey) return;
              event.preventDefault();
              onTab(id);
            }}
          >
            {name}
          </a>
        ))}
      </nav>
      {current.of()}
    </Sheet>
  );
}
