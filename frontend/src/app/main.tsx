import { createRoot } from "react-dom/client";
import { Chat } from "./Chat";
import "./styles";

createRoot(document.getElementById("root")!).render(<Chat me={null} />);
