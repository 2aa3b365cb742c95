import { useState } from "react";
import type { ReactNode } from "react";
import { Composer, newId, Outbox } from "../conversation";

const EXAMPLES = [
  "Simulate 10,000 games of craps and estimate the chance of winning, with a 95% interval",
  "Plot a noisy sine wave and fit a curve to it. How far off are the parameters?",
  "Make a table of the next ten Friday the 13ths",
  "Solve x³ − 6x² + 11x − 6 = 0 symbolically and check the roots numerically",
];

/** Before the first message. The conversation begins to exist when something is sent. */
export function Start({ model, before, after, onStart }: { model: string; before: ReactNode; after: ReactNode; onStart: (id: string) => void }) {
  const [id] = useState(newId);
  const send = (text: string) => {
    new Outbox(id).add({ turn: newId(), text });
    onStart(id);
  };
  return (
    <main>
      <header className="top">
        {before}
        <h1>New conversation</h1>
        <span className="r">{after}</span>
      </header>
      <div className="scroll">
        <div className="col start">
          <h2>What would you like to work out?</h2>
          <p className="aside">
            The answer is worked out by writing Python and running it in a sandbox of this conversation’s own. You see the code, what
            it prints and what it draws; variables and files stay from message to message.
          </p>
          <ul className="examples">
            {EXAMPLES.map((text) => (
              <li key={text}>
                <button type="button" onClick={() => send(text)}>
                  {text}
                </button>
              </li>
            ))}
          </ul>
        </div>
      </div>
      <div className="compose">
        <Composer conversation="new" busy={false} stopping={false} model={model} lastText="" onSend={send} onStop={() => undefined} />
      </div>
    </main>
  );
}
