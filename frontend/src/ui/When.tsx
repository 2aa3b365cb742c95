import { useState } from "react";
import { away, moment } from "./dates";

/** How far away a moment was when this was first shown; the moment itself on pointing at it. */
export function When({ at }: { at: number }) {
  const [now] = useState(() => Date.now() / 1000);
  return <time title={moment(at)}>{away(at, now)}</time>;
}
