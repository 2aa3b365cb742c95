import { createRoot } from "react-dom/client";
import { Gate } from "../account";
import { Chat } from "./Chat";
import "./styles";

createRoot(document.getElementById("root")!).render(<Gate>{(me) => <Chat me={me} />}</Gate>);
