import { useState } from "react";
import type { ReactNode } from "react";

/** Something that is only sometimes wanted: a button with words, and what it opens. */
export function Fold({ show, hide, children }: { show: string; hide: string; children: () => ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="more" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? hide : show}
      </button>
      {open && children()}
    </>
  );
}
