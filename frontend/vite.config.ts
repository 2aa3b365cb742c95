import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const server = process.env["CODEACT_DEV_SERVER"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  build: { target: "es2022", sourcemap: false, assetsInlineLimit: 0, chunkSizeWarningLimit: 700 },
  server: {
    proxy: {
      "/api": server,
      "/readyz": server,
      "/ws": { target: server, ws: true },
    },
  },
  test: { include: ["src/**/*.test.{ts,tsx}"], environment: "node" },
});
