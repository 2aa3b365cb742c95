import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The page that tests/bench/ui_stream.mjs measures; never part of the product's build.
export default defineConfig({
  root: here("."),
  publicDir: here("../public"),
  plugins: [react()],
  build: { outDir: here("../node_modules/.cache/bench"), emptyOutDir: true, assetsInlineLimit: 0 },
});
