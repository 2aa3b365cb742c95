/** What a link to this page carries after its `#`, which browsers send to no server: `reset` or `invite`, once. */
export function takeSecret(name: "reset" | "invite"): string | null {
  const value = new URLSearchParams(location.hash.slice(1)).get(name);
  return value || null;
}

/** It has been used: it is in no history and no bookmark any more. */
export function forgetSecrets(): void {
  if (location.hash || location.search) history.replaceState(null, "", location.pathname);
}

/** Why coming back from a provider did not sign in, once; null when it was not tried. */
export function takeSignInError(): string | null {
  return new URLSearchParams(location.search).get("sign_in_error");
}
