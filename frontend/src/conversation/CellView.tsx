import { memo } from "react";
import type { Cell } from "../protocol";
import { Code } from "../ui/Code";
import { CopyButton } from "../ui/CopyButton";
import { Elapsed } from "../ui/Elapsed";
import { Icon } from "../ui/Icon";
import { Outputs } from "./output/Outputs";
import { badLine } from "./output/traceback";
import { counting, duration, intent, lookOfCell } from "./words";

/** One code action: a rule at the left says its state at a glance, the header exactly. */
export const CellView = memo(function CellView({ cell, skew }: { cell: Cell; skew: number }) {
  const look = lookOfCell(cell);
  const raised = cell.outputs.find((output) => output.kind === "error");
  return (
    <section className={`cell ${look.tone}`} aria-label={`Code cell: ${look.words}`} data-state={cell.state} data-outcome={cell.outcome ?? undefined}>
      <header className="head">
        <span className="st">
          <Icon name={look.icon} />
          {look.words}
        </span>
        <span className="what">{intent(cell.code)}</span>
        <CopyButton text={cell.code} what="code" />
        <Meter cell={cell} skew={skew} />
      </header>
      <Code
        code={cell.code}
        language="python"
        settled={cell.state !== "writing"}
        badLine={raised?.kind === "error" ? badLine(raised.traceback, cell.execution_count) : null}
      />
      <Outputs outputs={cell.outputs} />
      <Note cell={cell} />
      <Files cell={cell} />
    </section>
  );
});

/** "In [3] · 0.4 s", counting in place while the cell runs. */
function Meter({ cell, skew }: { cell: Cell; skew: number }) {
  const running = cell.state !== "closed" && cell.started_at !== null;
  return (
    <span className="m">
      {cell.execution_count !== null && <span>In [{cell.execution_count}]</span>}
      {running && <Elapsed since={cell.started_at!} skew={skew} format={counting} />}
      {cell.duration_s !== null && <span>{duration(cell.duration_s)}</span>}
    </span>
  );
}

const FRESH = "This ran in a new Python session: the variables of earlier cells are gone.";

/** What happened and what survived, where it was not plain success or a plain error. */
function Note({ cell }: { cell: Cell }) {
  if (cell.state !== "closed") return null;
  const fresh = (cell.lost || cell.fresh) && <p className="aside">{cell.lost || FRESH}</p>;
  if (!cell.words) return fresh;
  const gentle = cell.outcome === "ok" || cell.outcome === "error" || cell.outcome === "interrupted";
  return (
    <>
      <p className={gentle ? "aside" : "plain"}>{cell.words}</p>
      {fresh}
    </>
  );
}

const SIGN = { new: "+", changed: "~", deleted: "−" } as const;

function Files({ cell: { files } }: { cell: Cell }) {
  if (files.length === 0) return null;
  return (
    <ul className="foot" aria-label="Files">
      {files.map(({ path, change }) => (
        <li key={path} className={`chip ${change}`} title={`${path}: ${change}`}>
          {SIGN[change]} {path}
        </li>
      ))}
    </ul>
  );
}
