"""Imports point one way: protocol ← agent ← ports ← runner, adapters ← turns ← wiring ← features, live ← main ← serve, cli.

Two modules that need each other are one module in two files, and nobody can read either alone. So a layer may import what
is below it, and its own layer. `wiring` names the concrete parts; features and live are handed them, so they are above it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import executor
import orchestrator

BACKEND = Path(orchestrator.__file__).parent
EXECUTOR = Path(executor.__file__).parent

LAYERS = (
    {"protocol"},
    {"agent"},
    {"ports", "accounts", "usage"},
    {"errors", "problem", "settings", "observability"},
    {"runner", "journal", "adapters"},
    {"sessions", "closing", "remote"},
    {"replica"},
    {"turns"},
    {"wiring"},
    {"conversations", "live", "openai_api", "health", "pages", "security", "users", "audit", "quotas", "admin"},
    {"main", "ground", "schema"},
    {"serve", "cli"},
)


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def part(module: str) -> str:
    """`orchestrator.agent.turn` → `agent`."""
    return [*module.split("."), "", ""][1]


def files() -> Iterator[tuple[str, Path]]:
    for path in sorted(BACKEND.rglob("*.py")):
        inside = path.relative_to(BACKEND).with_suffix("").parts
        if inside != ("__init__",):
            yield inside[0], path


def layer(name: str) -> int:
    found = [number for number, names in enumerate(LAYERS) if name in names]
    assert found, f"{name} has no place in the layers: give it one here, on purpose"
    return found[0]


def test_every_part_imports_only_what_lies_below_it():
    wrong = [
        f"{path.relative_to(BACKEND)} imports {module}"
        for name, path in files()
        for module in imports(path)
        if module.startswith("orchestrator.") and not part(module).startswith("__")
        if layer(part(module)) > layer(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_agent_neither_waits_nor_reads_a_clock_nor_reaches_out():
    forbidden = (
        "asyncio",
        "time",
        "datetime",
        "random",
        "secrets",
        "uuid",
        "os",
        "socket",
        "aiohttp",
        "sqlalchemy",
        "logging",
    )
    for name in ("agent", "protocol"):
        for path in (BACKEND / name).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not [module for module in imports(path) if module.split(".")[0] in forbidden], path
            waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
            assert not any(isinstance(node, waits) for node in ast.walk(tree)), path


def test_the_executor_imports_nothing_of_the_backend():
    for path in EXECUTOR.rglob("*.py"):
        assert not [module for module in imports(path) if module.split(".")[0] == "orchestrator"], path


def test_the_backend_knows_the_executor_by_its_wire_alone():
    """In embedded mode the manager is made by the adapter that satisfies the Kernel port with it, and by nobody else. How a
    line of the log looks and how a trace goes on is agreed between the services as the wire is."""
    for _, path in files():
        others = [m for m in imports(path) if m.split(".")[0] == "executor" and not m.startswith("executor.wire")]
        others = [m for m in others if m not in {"executor.wire", "executor.logs", "executor.tracing"}]
        inside = str(path.relative_to(BACKEND))
        assert not others or inside in {"adapters/kernel_local.py", "wiring.py"}, f"{inside} imports {others}"


def test_drivers_are_imported_only_by_their_own_adapter():
    drivers = {"asyncpg", "aiosqlite", "redis", "sqlalchemy", "alembic"}
    for name, path in files():
        used = {module.split(".")[0] for module in imports(path)} & drivers
        assert not used or name == "adapters", f"{path.relative_to(BACKEND)} imports {used}"
