import { Icon } from "../ui/Icon";
import { Problem } from "../ui/Form";
import { Section } from "../ui/Sheet";
import { Table } from "../ui/Table";
import { useLoaded } from "../ui/useLoaded";
import { admin } from "./api";

export function Models() {
  const { value, words } = useLoaded(admin.models);
  return (
    <Section title="Models">
      <Problem words={words} />
      {value && (
        <Table
          label="Models"
          keyOf={(model) => model.name}
          rows={value.models}
          empty="None is set."
          columns={[
            { name: "Name", of: (model) => model.name },
            { name: "Writes code as", of: (model) => model.profile },
            {
              name: "State",
              of: (model) => (
                <>
                  <Icon name={model.ok ? "check" : "warn"} /> {model.ok ? "answers" : model.words}
                </>
              ),
            },
          ]}
        />
      )}
    </Section>
  );
}
