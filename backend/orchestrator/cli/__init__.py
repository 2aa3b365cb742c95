"""The `codeact` command: `serve` runs the server, `migrate` brings its database up to date, `chat` talks to a server in the
terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator import __version__

DATA_DIR = Path("-")  # stands for the workspaces in the data directory, which the settings know


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 failed (and said why), 2 misused, 130 interrupted."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 2
    from pydantic import ValidationError  # what follows takes a while to load: not for --help

    from orchestrator.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        return _misused(error.errors(include_url=False))
    if chosen.command == "serve":
        from orchestrator import serve

        return serve.run(settings)
    if chosen.command == "migrate":
        from orchestrator.cli import migrate

        return migrate.run(settings, chosen.back)
    if chosen.command in ("backup", "restore"):
        from orchestrator.cli import backup

        files = settings.data_dir / "workspaces" if chosen.files is DATA_DIR else chosen.files
        if chosen.command == "backup":
            return backup.save(settings, chosen.file, files)
        return backup.restore(settings, chosen.file, files, chosen.replace)
    from orchestrator.cli import chat

    return chat.run(settings, chosen.url, chosen.conversation, chosen.question)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codeact", description="A chat whose model acts by running Python code.")
    parser.add_argument("--version", action="version", version=f"codeact {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="run the server, with its own model unless CODEACT_MODEL_URL names another")
    migrate = commands.add_parser("migrate", help="bring the database up to this version and end (`serve` does so too)")
    migrate.add_argument(
        "--back", metavar="REVISION", help="back to the tables of an earlier version, before that one starts"
    )
    backup = commands.add_parser(
        "backup", help="save all conversations and accounts to one file; servers may run meanwhile"
    )
    restore = commands.add_parser("restore", help="read such a file into an empty database, of either kind")
    restore.add_argument("--replace", action="store_true", help="the database is not empty, and what it holds may be lost")
    for command in (backup, restore):
        command.add_argument("file", type=Path)
        command.add_argument("--files", type=Path, nargs="?", const=DATA_DIR, metavar="DIRECTORY",
                             help="conversations' files too; where they lie if not in the data directory")  # fmt: skip
    chat = commands.add_parser("chat", help="talk to a running server in the terminal")
    chat.add_argument("question", nargs="?", help="ask this and leave; `-` reads it from standard input; none: converse")
    chat.add_argument("--conversation", metavar="ID", help="go on with this conversation, its variables included")
    chat.add_argument("--url", help="the server's address (by default from CODEACT_HOST and CODEACT_PORT)")
    return parser


def _misused(errors: Sequence[object]) -> int:
    for error in errors:
        assert isinstance(error, dict)
        name = "_".join(str(part) for part in error["loc"]).upper()
        print(f"CODEACT_{name} cannot be {error['input']!r}: {error['msg']}.", file=sys.stderr)
    return 2
