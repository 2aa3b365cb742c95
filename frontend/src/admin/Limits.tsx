import { useCallback, useId, useState } from "react";
import type { Quota, QuotaLimit, Quotas, UserLine, What } from "../protocol";
import { Field, Form, Problem, useWork } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { useLoaded } from "../ui/useLoaded";
import { admin } from "./api";
import { read, WHAT, written } from "./amounts";

/** Who may use how much: what holds for everybody, for groups, and for single users, the narrowest first. */
export function Limits() {
  const load = useCallback(async () => {
    const [quotas, { users }] = await Promise.all([admin.quotas(), admin.users()]);
    return { quotas, users };
  }, []);
  const { value, words, again } = useLoaded(load);
  const [changing, setChanging] = useState<Quota | null>(null);
  return (
    <Section
      title="Limits"
      about="A user’s own limits hold before those of their group, those before everybody’s, and those before what the server’s settings say."
    >
      <Problem words={words} />
      {value && <Rows {...value} onChange={setChanging} />}
      {changing && value && (
        <Change
          key={`${changing.scope} ${changing.name}`}
          quota={changing}
          users={value.users}
          onDone={() => {
            setChanging(null);
            void again();
          }}
        />
      )}
    </Section>
  );
}

interface RowsProps {
  quotas: Quotas;
  users: readonly UserLine[];
  onChange: (quota: Quota) => void;
}

function Rows({ quotas: { settings, quotas }, users, onChange }: RowsProps) {
  const everybody = quotas.find(({ scope }) => scope === "default") ?? { scope: "default", name: "", limits: [] };
  const rows: Quota[] = [everybody, ...quotas.filter(({ scope }) => scope !== "default")];
  return (
    <>
      <p className="aside">The server’s settings: {said(settings) || "no limits"}.</p>
      <Table
        label="Limits"
        keyOf={(quota) => `${quota.scope} ${quota.name}`}
        rows={rows}
        empty=""
        columns={[
          { name: "For", of: (quota) => who(quota, users) },
          { name: "May use", of: (quota) => said(quota.limits) || "as the settings say" },
          {
            name: "",
            figure: true,
            of: (quota) => (
              <button type="button" className="button" onClick={() => onChange(quota)}>
                Change
              </button>
            ),
          },
        ]}
      />
      <div className="row">
        <button type="button" className="button" onClick={() => onChange({ scope: "group", name: "", limits: [] })}>
          Add a group
        </button>
        <button type="button" className="button" onClick={() => onChange({ scope: "user", name: "", limits: [] })}>
          Add a user
        </button>
      </div>
    </>
  );
}

function who({ scope, name }: Quota, users: readonly UserLine[]): string {
  if (scope === "default") return "everybody";
  return scope === "group" ? `group ${name}` : (users.find(({ id }) => id === name)?.email ?? "somebody who is gone");
}

function said(limits: readonly QuotaLimit[]): string {
  return limits.map(({ what, most }) => `${WHAT[what].short}: ${written(what, most)}`).join(", ");
}

function Change({ quota, users, onDone }: { quota: Quota; users: readonly UserLine[]; onDone: () => void }) {
  const work = useWork();
  const [name, setName] = useState(quota.name);
  const [texts, setTexts] = useState<Partial<Record<What, string>>>(() =>
    Object.fromEntries(quota.limits.map(({ what, most }) => [what, written(what, most)])),
  );
  const isNew = quota.scope !== "default" && quota.name === "";
  const save = async () => {
    const limits = (Object.keys(WHAT) as What[]).flatMap((what) => read(what, texts[what] ?? ""));
    await admin.setQuota({ scope: quota.scope, name, limits });
    onDone();
  };
  return (
    <Form
      work={work}
      submit="Save"
      onSubmit={save}
      beside={
        <button type="button" className="more" onClick={onDone}>
          Leave it
        </button>
      }
    >
      {isNew && quota.scope === "group" && <Field label="Name of the group" required autoFocus value={name} onChange={setName} />}
      {isNew && quota.scope === "user" && <Choice users={users} value={name} onChange={setName} />}
      {(Object.keys(WHAT) as What[]).map((what) => (
        <Field
          key={what}
          label={WHAT[what].name}
          placeholder="as for those above"
          value={texts[what] ?? ""}
          onChange={(text) => setTexts((before) => ({ ...before, [what]: text }))}
        />
      ))}
      <p className="aside">Empty: as for those above. “none”: no limit. 0: nothing at all.</p>
    </Form>
  );
}

function Choice({ users, value, onChange }: { users: readonly UserLine[]; value: string; onChange: (id: string) => void }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>User</label>
      <select id={id} required value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">choose …</option>
        {users.map((user) => (
          <option key={user.id} value={user.id}>
            {user.name} ({user.email})
          </option>
        ))}
      </select>
    </div>
  );
}
