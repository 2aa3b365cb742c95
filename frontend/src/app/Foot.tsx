import { accounts } from "../account";
import type { User } from "../account";
import { Menu } from "../ui/Menu";
import { go } from "./route";
import type { Place } from "./route";

/** Who is signed in, and where that leads. */
export function Foot({ me, onGo }: { me: User; onGo: () => void }) {
  const to = (place: Place) => () => {
    go(place);
    onGo();
  };
  const leave = () => void accounts.signOut().finally(() => location.assign("/"));
  return (
    <div className="foot">
      <Menu label={<span className="who">{me.name}</span>} title="Your account">
        {(close) => (
          <>
            <Entry words="Your account" onClick={to({ page: "account" })} close={close} />
            {me.role === "admin" && <Entry words="Administration" onClick={to({ page: "admin", tab: "" })} close={close} />}
            <Entry words="Sign out" onClick={leave} close={close} />
          </>
        )}
      </Menu>
    </div>
  );
}

function Entry({ words, onClick, close }: { words: string; onClick: () => void; close: () => void }) {
  return (
    <button
      type="button"
      role="menuitem"
      onClick={() => {
        close();
        onClick();
      }}
    >
      {words}
    </button>
  );
}
