import { useCallback, useEffect, useState } from "react";

/** What a page needs from the server: loaded when shown, and again when asked. `words`: why it could not be. */
export function useLoaded<T>(load: () => Promise<T>): { value: T | null; words: string; again: () => Promise<void> } {
  const [state, setState] = useState<{ value: T | null; words: string }>({ value: null, words: "" });
  const again = useCallback(
    () =>
      load().then(
        (value) => setState({ value, words: "" }),
        (error: unknown) => setState(({ value }) => ({ value, words: error instanceof Error ? error.message : String(error) })),
      ),
    [load],
  );
  useEffect(() => {
    const timer = setTimeout(() => void again());
    return () => clearTimeout(timer);
  }, [again]);
  return { ...state, again };
}
