import { Problem } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { useLoaded } from "../ui/useLoaded";
import { admin } from "./api";

export function Settings() {
  const { value, words } = useLoaded(admin.settings);
  return (
    <Section title="Settings" about="They are set in the server’s environment; secrets are not shown.">
      <Problem words={words} />
      {value && (
        <Table
          label="Settings"
          keyOf={(setting) => setting.name}
          rows={value.settings}
          empty="None."
          columns={[
            { name: "Name", of: (setting) => <code>{setting.name}</code> },
            { name: "Value", of: (setting) => (setting.secret ? "set, not shown" : setting.value || "–") },
            { name: "", of: (setting) => (setting.default ? "as it comes" : "set here") },
          ]}
        />
      )}
    </Section>
  );
}
