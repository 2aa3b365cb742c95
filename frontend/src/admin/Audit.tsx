import { useEffect, useState } from "react";
import type { AuditEntry } from "../protocol";
import { moment } from "../ui/dates";
import { Problem, useWork } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { admin } from "./api";

/** Newest first, a page at a time. */
export function Audit() {
  const [entries, setEntries] = useState<readonly AuditEntry[] | null>(null);
  const [more, setMore] = useState(false);
  const work = useWork();
  const load = async (before: number | null) => {
    const page = await admin.audit(before);
    setEntries((kept) => [...(before === null ? [] : (kept ?? [])), ...page.entries]);
    setMore(page.more);
  };
  useEffect(() => {
    const timer = setTimeout(() => work.run(() => load(null)));
    return () => clearTimeout(timer);
    // only when the page is shown: what comes later is loaded by the button
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  return (
    <Section title="Audit log" about="Who did what to accounts, rights and running work. Nothing in it can be changed.">
      <Problem words={work.words} />
      {entries && (
        <Table
          label="Audit log"
          keyOf={(entry) => String(entry.id)}
          rows={entries}
          empty="Nothing yet."
          columns={[
            { name: "When", of: (entry) => moment(entry.at) },
            { name: "Who", of: (entry) => entry.actor_name || entry.actor || "–" },
            { name: "What", of: (entry) => entry.action },
            { name: "To", of: (entry) => entry.subject },
            { name: "More", of: (entry) => <Details details={entry.details} /> },
          ]}
        />
      )}
      {more && (
        <button type="button" className="more" disabled={work.busy} onClick={() => work.run(() => load(entries?.at(-1)?.id ?? null))}>
          Show older
        </button>
      )}
    </Section>
  );
}

function Details({ details }: { details: AuditEntry["details"] }) {
  return Object.entries(details)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}
