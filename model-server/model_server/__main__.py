"""`python -m model_server list | serve | fetch | smoke | health`: see docs/models.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any, get_args

from pydantic import ValidationError

from model_server.settings import Engine, ServeSettings


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m model_server", description="Models: which there are, and serving them.")
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the catalogue")
    fetch = commands.add_parser("fetch", help="fetch a model's files, before it is served or for another machine")
    fetch.add_argument("model", nargs="?", default="", help="its id (default: the embedded one)")
    serve = commands.add_parser("serve", help="serve a model; every setting is an environment variable (.env.example)")
    serve.add_argument("--engine", choices=get_args(Engine), help="CODEACT_MODEL_ENGINE")
    serve.add_argument("--model", help="CODEACT_MODEL")
    serve.add_argument("--host", help="CODEACT_MODEL_HOST")
    serve.add_argument("--port", type=int, help="CODEACT_MODEL_PORT")
    smoke = commands.add_parser("smoke", help="try a running server (the key: CODEACT_MODEL_API_KEY)")
    smoke.add_argument("url", help="its base URL, for example http://127.0.0.1:8080/v1")
    smoke.add_argument("--model", default="", help="default: the first that it lists")
    health = commands.add_parser("health", help="whether the server that `serve` runs is ready, as an exit status")
    health.add_argument("url", nargs="?", default="", help="default: the health port on this machine")
    return whole


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except ValidationError as wrong:
        for error in wrong.errors():
            name = "_".join(str(part) for part in error["loc"]).upper()
            print(f"CODEACT_{name} is {error['input']!r}: {error['msg']}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "list":
            from model_server.listing import table

            print(table())
            return 0
        case "fetch":
            from model_server.fetching import fetch_named

            return asyncio.run(fetch_named(options.model, ServeSettings()))
        case "serve":
            from model_server.serving import serve

            return asyncio.run(serve(ServeSettings(**_given(options))))
        case "smoke":
            from model_server.smoke import smoke

            return asyncio.run(smoke(options.url, ServeSettings().key, options.model))
        case _:
            return asyncio.run(_health(options.url))


async def _health(url: str) -> int:
    from model_server.health import ask

    ready, words = await ask(url or f"http://127.0.0.1:{ServeSettings().model_health_port}")
    print(words, file=sys.stdout if ready else sys.stderr)
    return 0 if ready else 1


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What stands on the command line goes before the environment."""
    names = {"engine": "model_engine", "model": "model", "host": "model_host", "port": "model_port"}
    return {setting: value for name, setting in names.items() if (value := getattr(options, name)) is not None}


if __name__ == "__main__":
    sys.exit(main())
