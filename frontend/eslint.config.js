import js from "@eslint/js";
import reactHooks from "eslint-plugin-react-hooks";
import globals from "globals";
import tseslint from "typescript-eslint";

// Imports point one way: app → features → ui, connection → protocol. Features do not know each other.
const features = ["conversation", "conversations", "account", "admin"];
const above = {
  protocol: ["connection", ...features, "ui", "app"],
  connection: [...features, "ui", "app"],
  ui: ["connection", ...features, "app"],
  ...Object.fromEntries(features.map((one) => [one, [...features.filter((other) => other !== one), "app"]])),
};

const layers = Object.entries(above).map(([layer, forbidden]) => ({
  files: [`src/${layer}/**`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: forbidden.map((name) => ({
          regex: `^(\\.\\./)+${name}(/|$)`,
          message: `${layer} may not import ${name}: imports point one way.`,
        })),
      },
    ],
  },
}));

export default tseslint.config(
  { ignores: ["dist", "dev/dist", "bench/dist", "node_modules", "src/protocol/generated.ts"] },
  js.configs.recommended,
  ...tseslint.configs.strict,
  reactHooks.configs.flat["recommended-latest"],
  {
    files: ["**/*.{ts,tsx}"],
    languageOptions: { globals: globals.browser },
    rules: {
      eqeqeq: "error",
      "no-console": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
    },
  },
  { files: ["**/*.{js,mjs}", "public/*.js"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
  ...layers,
);
