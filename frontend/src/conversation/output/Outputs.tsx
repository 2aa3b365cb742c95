import { memo, useMemo } from "react";
import type { ErrorOutput, Output, RichOutput } from "../../protocol";
import { never } from "../../protocol";
import { Fold } from "../../ui/Fold";
import { Tex } from "../../ui/Tex";
import { Markdown } from "../markdown/Markdown";
import { size } from "../words";
import { plain } from "./ansi";
import { HtmlFrame } from "./HtmlFrame";
import { pick } from "./mime";
import { Terminal } from "./Terminal";

/** What a cell put out, in the order it came. */
export const Outputs = memo(function Outputs({ outputs }: { outputs: readonly Output[] }) {
  return outputs.map((output, at) => <One key={at} output={output} />);
});

const One = memo(function One({ output }: { output: Output }) {
  switch (output.kind) {
    case "text":
      return (
        <div className="stream" data-late={output.late || undefined}>
          {output.late && <p className="aside">Printed later, by a thread of an earlier cell:</p>}
          <Terminal text={output.text} className={output.name === "stderr" ? "out err" : "out"} />
        </div>
      );
    case "rich":
      return <Rich output={output} />;
    case "error":
      return <Raised error={output} />;
    case "omitted":
      return <p className="aside">{size(output.size)} of output are left out here.</p>;
    default:
      never(output);
      return null;
  }
});

function Rich({ output }: { output: RichOutput }) {
  const form = useMemo(() => pick(output.data, output.metadata), [output]);
  switch (form.kind) {
    case "html":
      return <HtmlFrame html={form.html} />;
    case "image":
      return <img className="picture" src={form.source} alt="Output of the cell" width={form.width ?? undefined} height={form.height ?? undefined} />;
    case "latex":
      return <Tex tex={form.tex} display />;
    case "markdown":
      return <Markdown text={form.text} done />;
    case "json":
    case "text":
      return <Terminal text={form.text} />;
  }
}

/** An exception: its name and message first; the way there only for those who ask. */
function Raised({ error: { ename, evalue, traceback } }: { error: ErrorOutput }) {
  return (
    <div className="plain">
      <p className="raised">
        <b>{ename}</b>
        {evalue && `: ${plain(evalue).split("\n", 1)[0] ?? ""}`}
      </p>
      {traceback && (
        <Fold show="Show traceback" hide="Hide traceback">
          {() => <Terminal text={traceback} className="out traceback" />}
        </Fold>
      )}
    </div>
  );
}
