export { Sidebar } from "./Sidebar";
export { Conversations } from "./store";
