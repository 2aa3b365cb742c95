import { useState } from "react";
import type { UserLine } from "../protocol";
import { CopyButton } from "../ui/CopyButton";
import { moment } from "../ui/dates";
import { Field, Form, Problem, useWork } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { When } from "../ui/When";
import { useLoaded } from "../ui/useLoaded";
import { admin } from "./api";
import type { UserChange } from "./api";

export function Users() {
  const { value, words, again } = useLoaded(admin.users);
  const work = useWork();
  const [link, setLink] = useState<{ words: string; link: string } | null>(null);
  const change = (user: UserLine, part: UserChange) =>
    work.run(() => admin.change(user.id, part).finally(again));
  const reset = (user: UserLine) =>
    work.run(async () => setLink({ words: `With this link ${user.name} can set a new password, once:`, ...(await admin.resetLink(user.id)) }));
  return (
    <>
      <Section title="Users">
        <Problem words={work.words || words} />
        {link && <Link {...link} onDone={() => setLink(null)} />}
        {value && (
          <Table
            label="Users"
            keyOf={(user) => user.id}
            rows={value.users}
            empty="Nobody yet."
            columns={[
              { name: "Name", of: (user) => <Name user={user} /> },
              { name: "Role", of: (user) => <Role user={user} disabled={work.busy} onChange={(role) => change(user, { role })} /> },
              { name: "Group", of: (user) => <Group key={user.group} user={user} onChange={(group) => change(user, { group })} /> },
              { name: "Last seen", of: (user) => (user.seen_at === null ? "never" : <When at={user.seen_at} />) },
              {
                name: "",
                figure: true,
                of: (user) => (
                  <span className="act">
                    <button type="button" className="button" disabled={work.busy} onClick={() => reset(user)}>
                      Reset link
                    </button>
                    <button type="button" className="button bad" disabled={work.busy} onClick={() => change(user, { disabled: !user.disabled })}>
                      {user.disabled ? "Let in" : "Lock out"}
                    </button>
                  </span>
                ),
              },
            ]}
          />
        )}
      </Section>
      <Invites />
    </>
  );
}

function Name({ user }: { user: UserLine }) {
  return (
    <>
      {user.name}
      {user.disabled && " (locked out)"}
      <small>{user.email}</small>
    </>
  );
}

function Role({ user, disabled, onChange }: { user: UserLine; disabled: boolean; onChange: (role: UserLine["role"]) => void }) {
  return (
    <select aria-label={`Role of ${user.name}`} value={user.role} disabled={disabled} onChange={(event) => onChange(event.target.value as UserLine["role"])}>
      <option value="user">user</option>
      <option value="admin">administrator</option>
    </select>
  );
}

/** Written when the field is left or Enter is pressed. */
function Group({ user, onChange }: { user: UserLine; onChange: (group: string) => void }) {
  const [group, setGroup] = useState(user.group);
  const done = () => {
    if (group !== user.group) onChange(group);
  };
  return (
    <input
      aria-label={`Group of ${user.name}`}
      size={10}
      maxLength={64}
      value={group}
      onChange={(event) => setGroup(event.target.value)}
      onBlur={done}
      onKeyDown={(event) => event.key === "Enter" && done()}
    />
  );
}

function Invites() {
  const { value, words, again } = useLoaded(admin.invites);
  const work = useWork();
  const [email, setEmail] = useState("");
  const [link, setLink] = useState<string | null>(null);
  const make = async () => {
    setLink((await admin.invite(email)).link);
    setEmail("");
    await again();
  };
  return (
    <Section title="Invitations" about="Whoever opens the link can make one account, also while registration is closed to others.">
      {link && <Link words="The invitation’s link, shown once:" link={link} onDone={() => setLink(null)} />}
      <Form work={work} submit="Invite" onSubmit={make}>
        <Field label="Email" type="email" hint="Empty: for whoever has the link." value={email} onChange={setEmail} />
      </Form>
      <Problem words={words} />
      {value && (
        <Table
          label="Invitations"
          keyOf={(invite) => invite.id}
          rows={value.invites}
          empty="None is open."
          columns={[
            { name: "For", of: (invite) => invite.email || "whoever has the link" },
            { name: "Made", of: (invite) => moment(invite.created_at) },
            { name: "Good until", of: (invite) => moment(invite.expires_at) },
            { name: "Used by", of: (invite) => invite.used_by ?? "–" },
            {
              name: "",
              figure: true,
              of: (invite) => (
                <button type="button" className="button bad" disabled={work.busy} onClick={() => work.run(() => admin.dropInvite(invite.id).finally(again))}>
                  Take back
                </button>
              ),
            },
          ]}
        />
      )}
    </Section>
  );
}

function Link({ words, link, onDone }: { words: string; link: string; onDone: () => void }) {
  return (
    <div className="told" role="status">
      <p>{words}</p>
      <div className="secret">
        <code>{link}</code>
        <CopyButton text={link} what="the link" />
      </div>
      <div className="row">
        <button type="button" className="button" onClick={onDone}>
          I have it
        </button>
      </div>
    </div>
  );
}
