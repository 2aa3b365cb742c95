export { Admin } from "./Admin";
