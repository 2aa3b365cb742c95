import { memo, useState } from "react";
import { BlockReader } from "./blocks";
import type { Block } from "./blocks";
import { BlockView } from "./render";

const SettledBlock = memo(function SettledBlock({ block }: { block: Block }) {
  return <BlockView token={block.token} settled={block.settled} />;
});

/** Markdown that may still be growing (`done` false). Blocks that did not change are not rendered again. */
export const Markdown = memo(function Markdown({ text, done }: { text: string; done: boolean }) {
  const [reader] = useState(() => new BlockReader());
  return (
    <div className="markdown">
      {reader.read(text, done).map((block) => (
        <SettledBlock key={block.key} block={block} />
      ))}
    </div>
  );
});
