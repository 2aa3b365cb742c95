import { createRoot } from "react-dom/client";
import { browserConnection } from "../connection";
import { Conversations } from "../conversations";
import { App } from "./App";
import "./styles";

const connection = browserConnection();
const conversations = new Conversations(connection);
connection.start();

createRoot(document.getElementById("root")!).render(<App connection={connection} conversations={conversations} />);
