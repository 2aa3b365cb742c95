import { Code } from "./Code";
import { CopyButton } from "./CopyButton";

const ALIASES: Record<string, string> = { py: "python", python3: "python", sh: "bash", shell: "bash", console: "bash" };

/** A fenced block of an answer, which is quoted and not run. */
export function CodeBlock({ code, language, settled }: { code: string; language: string; settled: boolean }) {
  const name = language.toLowerCase();
  return (
    <div className="code-block">
      <Code code={code} language={ALIASES[name] ?? name} settled={settled} />
      <CopyButton text={code} what="code" />
    </div>
  );
}
