import type { ReactNode } from "react";
import { ThemeToggle } from "../ui/ThemeToggle";

/** What is seen before anybody is let in. */
export function Door({ title, children }: { title: string; children: ReactNode }) {
  return (
    <main className="door">
      <div className="corner">
        <ThemeToggle />
      </div>
      <div>
        <div className="brand">
          <i aria-hidden="true" />
          CodeAct Chat
        </div>
        <h1>{title}</h1>
        {children}
      </div>
    </main>
  );
}
