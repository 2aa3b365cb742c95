// Generates src/protocol/generated.ts from the server's protocol classes. `--print` writes to standard output instead.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";

const here = dirname(fileURLToPath(import.meta.url));
const python = process.env.PYTHON ?? resolve(here, "../../.venv/bin/python");
const target = resolve(here, "../src/protocol/generated.ts");
const banner = "// Generated from backend/orchestrator/schema.py by `npm run types`. Never edited by hand.\n\n";

const document = JSON.parse(execFileSync(python, ["-m", "orchestrator.schema"], { encoding: "utf8" }));
const ast = await openapiTS(document, { alphabetize: true, rootTypes: true, rootTypesNoSchemaPrefix: true });
const text = banner + astToString(ast);

if (process.argv.includes("--print")) process.stdout.write(text);
else writeFileSync(target, text);
