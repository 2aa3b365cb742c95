export { Account } from "./Account";
export { accounts } from "./api";
export { Gate } from "./Gate";
export { SignInProblem } from "./Providers";
export type { User } from "../protocol";
