import { useCallback, useState } from "react";
import { amount, bytes } from "../ui/figures";
import { Problem } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { useLoaded } from "../ui/useLoaded";
import { admin } from "./api";
import { Days } from "./Days";

const SPANS = [1, 7, 30];

export function Usage() {
  const [days, setDays] = useState(7);
  const { value, words } = useLoaded(useCallback(() => admin.usage(days), [days]));
  return (
    <Section title="Usage">
      <div className="row" role="group" aria-label="Span of time">
        {SPANS.map((span) => (
          <button key={span} type="button" className="button" aria-pressed={span === days} onClick={() => setDays(span)}>
            {span === 1 ? "Today" : `${span} days`}
          </button>
        ))}
      </div>
      <Problem words={words} />
      {value && !value.counted && <p className="aside">Nothing is counted here: a server without accounts has nobody to count for.</p>}
      {value?.counted && <Days days={value.days} />}
      {value && (
        <Table
          label="Usage by user"
          keyOf={(line) => line.user}
          rows={value.users}
          empty="Nobody has used anything in this time."
          columns={[
            { name: "User", of: (line) => line.user_name || line.user },
            { name: "Messages", figure: true, of: (line) => amount(line.messages, "") },
            { name: "Model tokens", figure: true, of: (line) => amount(line.model_tokens, "") },
            { name: "CPU seconds", figure: true, of: (line) => amount(line.cpu_seconds, "") },
            { name: "Disk", figure: true, of: (line) => bytes(line.disk_bytes) },
          ]}
        />
      )}
    </Section>
  );
}
