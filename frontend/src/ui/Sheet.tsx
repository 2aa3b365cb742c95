import type { ReactNode } from "react";

/** A page beside the conversations: a bar with its name, and one column of sections. */
export function Sheet({ title, before, after, children }: { title: string; before?: ReactNode; after?: ReactNode; children: ReactNode }) {
  return (
    <main className="sheet">
      <header className="top">
        {before}
        <h1>{title}</h1>
        <span className="r">{after}</span>
      </header>
      <div className="scroll">
        <div className="col sections">{children}</div>
      </div>
    </main>
  );
}

export function Section({ title, about, children }: { title: string; about?: string; children: ReactNode }) {
  return (
    <section className="section" aria-label={title}>
      <h2>{title}</h2>
      {about && <p className="aside">{about}</p>}
      {children}
    </section>
  );
}
