export { Account } from "./Account";
export { accounts } from "./api";
export { Gate } from "./Gate";
export type { User } from "../protocol";
