"""`python -m executor serve`: the service. `python -m executor doctor`: what isolates sandboxes on this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys

from pydantic import ValidationError

from executor.settings import ServiceSettings, Settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="executor", description="Runs code in one sandbox per conversation.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve", help="answer the orchestrator over HTTP until stopped")
    doctor = verbs.add_parser("doctor", help="make a sandbox, and say what isolates it")
    doctor.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(argv)
    try:
        settings, service = Settings(), ServiceSettings()
    except ValidationError as error:
        print(f"A setting is wrong: {error}", file=sys.stderr)
        return 2
    return _serve(service, settings) if options.verb == "serve" else _doctor(service, settings, options.json)


def _serve(service: ServiceSettings, settings: Settings) -> int:
    import uvloop

    from executor.service import CannotStart, serve

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(service, settings))
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _doctor(service: ServiceSettings, settings: Settings, as_json: bool) -> int:
    from executor.doctor import examine, table

    health = asyncio.run(examine(service, settings))
    print(health.model_dump_json(indent=2) if as_json else table(health))
    return 0 if health.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
