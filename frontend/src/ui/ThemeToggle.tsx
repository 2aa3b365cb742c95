import { Icon } from "./Icon";
import type { IconName } from "./Icon";
import { choose, useChoice } from "./theme";
import type { Choice } from "./theme";

const NEXT: Record<Choice, Choice> = { system: "light", light: "dark", dark: "system" };
const ICON: Record<Choice, IconName> = { system: "system", light: "sun", dark: "moon" };

export function ThemeToggle() {
  const choice = useChoice();
  const label = `Theme: ${choice}. Change to ${NEXT[choice]}`;
  return (
    <button type="button" className="quiet" onClick={() => choose(NEXT[choice])} aria-label={label} title={label}>
      <Icon name={ICON[choice]} />
    </button>
  );
}
