// Runs before the first paint, so that the page never flashes in the wrong theme. Kept apart because the page's
// content security policy allows no inline scripts. src/ui/theme.ts knows the same key.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // storage may be forbidden; then the system decides
  }
  var dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
