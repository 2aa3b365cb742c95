import { useId, useState } from "react";
import type { InputHTMLAttributes, ReactNode } from "react";
import { Icon } from "./Icon";

interface FieldProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "onChange" | "id" | "value"> {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: string;
}

/** A line to write in, with its name above and a hint below. */
export function Field({ label, value, onChange, hint, ...rest }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} value={value} onChange={(event) => onChange(event.target.value)} aria-describedby={hint ? `${id}-hint` : undefined} {...rest} />
      {hint && (
        <p className="aside" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

/** One piece of work at a time, and the words of its failure. */
export interface Work {
  busy: boolean;
  words: string;
  run: (work: () => Promise<unknown>) => void;
}

export function useWork(): Work {
  const [state, setState] = useState({ busy: false, words: "" });
  const run = (work: () => Promise<unknown>) => {
    if (state.busy) return;
    setState({ busy: true, words: "" });
    work().then(
      () => setState({ busy: false, words: "" }),
      (error: unknown) => setState({ busy: false, words: error instanceof Error ? error.message : String(error) }),
    );
  };
  return { ...state, run };
}

interface FormProps {
  work: Work;
  onSubmit: () => Promise<unknown>;
  submit: string;
  children: ReactNode;
  beside?: ReactNode;
}

/** Fields with one button; what went wrong is said above it. */
export function Form({ work, onSubmit, submit, children, beside }: FormProps) {
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        work.run(onSubmit);
      }}
    >
      {children}
      <Problem words={work.words} />
      <div className="row">
        <button type="submit" className="button main" disabled={work.busy}>
          {submit}
        </button>
        {beside}
      </div>
    </form>
  );
}

export function Problem({ words }: { words: string }) {
  return (
    <div role="alert">
      {words && (
        <p className="problem">
          <Icon name="warn" />
          {words}
        </p>
      )}
    </div>
  );
}
