import { useEffect, useState } from "react";
import type { User } from "../account";
import { browserConnection } from "../connection";
import { Conversations } from "../conversations";
import { App } from "./App";

/** The chat of whoever has been let in: its connection lives as long as the page. */
export function Chat({ me }: { me: User | null }) {
  const [{ connection, conversations }] = useState(() => {
    const connection = browserConnection();
    return { connection, conversations: new Conversations(connection) };
  });
  useEffect(() => connection.start(), [connection]);
  return <App connection={connection} conversations={conversations} me={me} />;
}
