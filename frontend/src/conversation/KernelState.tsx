import type { Kernel } from "../protocol";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { kernelWords } from "./words";

/** "kernel idle · 182 MB of 1 GB", with the one thing that can be done about it. */
export function KernelState({ kernel, busy, onRestart }: { kernel: Kernel; busy: boolean; onRestart: () => void }) {
  const words = kernelWords(kernel);
  if (!words.state) return null;
  const label = (
    <span className={`kern ${kernel.state}`}>
      {words.state}
      {words.memory && <span className="memory"> · {words.memory}</span>}
    </span>
  );
  if (kernel.state === "none") return label;
  return (
    <Menu label={label} title={kernel.words || "The Python of this conversation"}>
      {(close) => (
        <button
          type="button"
          role="menuitem"
          disabled={busy}
          onClick={() => {
            close();
            onRestart();
          }}
        >
          <Icon name="restart" />
          <span>
            Restart Python
            <small>{busy ? "Not while an answer is being worked on" : "Variables are thrown away, files stay"}</small>
          </span>
        </button>
      )}
    </Menu>
  );
}
