import type { ProtocolVersion } from "./generated";

export type * from "./generated";

/** The protocol this build speaks. The generated type makes a forgotten bump a compile error. */
export const PROTOCOL_VERSION: ProtocolVersion = 1;

/** Ends a `switch` over a union: a new variant breaks the build here. At run time an unknown one is let through. */
export function never(_value: never): void {}
