/** What was being written, per conversation, kept over reloads. Storage may be forbidden: then it is forgotten. */
export const drafts = {
  read(conversation: string): string {
    try {
      return localStorage.getItem(`draft:${conversation}`) ?? "";
    } catch {
      return "";
    }
  },
  write(conversation: string, text: string): void {
    try {
      if (text) localStorage.setItem(`draft:${conversation}`, text);
      else localStorage.removeItem(`draft:${conversation}`);
    } catch {
      // Not remembered, then.
    }
  },
};
