export * from "./api";
export { browserConnection, Connection } from "./connection";
export type { Status } from "./connection";
export { trouble } from "./words";
