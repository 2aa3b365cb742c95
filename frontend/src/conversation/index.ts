export { Composer } from "./Composer";
export { Conversation } from "./Conversation";
export { drafts } from "./drafts";
export { Outbox } from "./outbox";
export { newId } from "./session";
