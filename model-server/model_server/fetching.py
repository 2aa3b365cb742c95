"""`python -m model_server fetch`: a model's files by its name, from the hub for vLLM, as one file for llama.cpp."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from model_server.catalogue import Model, UnknownModel, find
from model_server.fetch import FetchFailed, fetch, fetched, place, remember
from model_server.plan import CannotServe, gguf
from model_server.settings import ServeSettings
from model_server.troubles import explain

HUB = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], revision=sys.argv[2], local_dir=sys.argv[3])
"""


async def fetch_named(name: str, settings: ServeSettings) -> int:
    """0 and the place on stdout, or 1 and the reason on stderr."""
    chosen = settings.model_copy(update={"model": name or settings.model})
    try:
        print(await _fetch(chosen))
    except (CannotServe, FetchFailed, UnknownModel) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _fetch(settings: ServeSettings) -> Path:
    if settings.model_engine == "llamacpp":
        return await fetch(gguf(settings), settings.model_dir)
    return await from_hub(find(settings.model), settings)


async def from_hub(model: Model, settings: ServeSettings) -> Path:
    """With the client that comes with vLLM, which goes on where it was cut. Raises FetchFailed."""
    if Path(model.repository).is_absolute():
        return Path(model.repository)
    revision = settings.model_revision or model.revision or "main"
    if here := fetched(model, revision, settings.model_dir):
        return here
    target = place(model, settings.model_dir)
    target.mkdir(parents=True, exist_ok=True)
    python = settings.vllm_python or sys.executable
    command = (python, "-c", HUB, model.repository, revision, str(target))
    try:
        client = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise FetchFailed(f"{python} cannot be started ({error.strerror}). Set CODEACT_VLLM_PYTHON.") from error
    said = await _listen(client)
    if await client.wait() != 0:
        raise FetchFailed(f"{model.title} could not be fetched. {explain(said, client.returncode)}")
    remember(model, revision, target)
    return target


async def _listen(client: asyncio.subprocess.Process) -> list[str]:
    """Its progress goes on to the terminal; its last lines are kept."""
    assert client.stderr is not None
    said: list[str] = []
    while data := await client.stderr.read(4096):
        text = data.decode(errors="replace")
        print(text, end="", file=sys.stderr, flush=True)
        said = [*said, *text.splitlines()][-200:]
    return said
