import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The real page on a server that exists only in the browser: for looking at every state without a model or a sandbox.
export default defineConfig({
  root: here("."),
  publicDir: here("../public"),
  plugins: [react()],
  server: { fs: { allow: [here("..")] } },
  build: { outDir: here("../node_modules/.cache/scenes"), emptyOutDir: true, assetsInlineLimit: 0 },
});
