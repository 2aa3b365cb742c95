"""The llama.cpp server of the `xllamacpp` wheel as one process: behind a key, gone with its parent.

    CODEACT_LLAMA_API_KEY=… python -m model_server.llama --model FILE [--port N]

When it listens it prints one line of JSON: {"ready": true, "url": "http://127.0.0.1:N/v1", "threads": …, "load_s": …}.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from model_server.cores import threads

KEY_VARIABLE = "CODEACT_LLAMA_API_KEY"
PR_SET_PDEATHSIG = 1
# How often an OpenMP thread looks before it sleeps. The default (millions) collapses as soon as anything else wants a
# core: measured on two busy cores 1.7 tokens/s, with this 6.3; on idle cores there is no difference.
SPIN_COUNT = "2000"
CACHE_MIB = 2048


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def cache_mib() -> int:
    """Memory for prompts of conversations that are not in the slot just now: a quarter of what is free, within bounds."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return max(64, min(CACHE_MIB, int(line.split()[1]) // 4096))
    return 256


def params(options: argparse.Namespace, api_key: str) -> Any:
    """llama.cpp's own settings; those not named here keep its defaults."""
    import xllamacpp  # loads 100 MB and reads the OpenMP settings: not before they are made

    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(options.model)
    chosen.model_alias = {options.alias}
    chosen.hostnames = [options.host]
    chosen.port = options.port
    chosen.api_keys = [api_key]
    chosen.n_ctx = options.context
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = options.threads
    # One slot, refilled from a cache in memory: with a similarity of 0 the server looks for the longest known prefix at
    # every request, so conversations that take turns find their own history again. Any other value keeps only the prefix
    # they share.
    chosen.n_parallel = 1
    chosen.slot_prompt_similarity = 0.0
    chosen.cache_ram_mib = cache_mib()
    chosen.ui = False
    chosen.cors_origins = ""
    chosen.endpoint_slots = True
    chosen.endpoint_metrics = True
    chosen.verbosity = 1
    return chosen


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m model_server.llama", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--alias", default="", help="the model's name in the API (default: the file's)")
    parser.add_argument("--host", default="127.0.0.1", help="loopback unless told otherwise")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--context", type=int, default=16384, help="tokens")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are idle cores")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    options = parser.parse_args(arguments)
    options.alias = options.alias or options.model.stem
    options.threads = options.threads or threads()
    return options


def main() -> int:
    options = parse()
    if options.parent:
        die_with_parent(options.parent)
    api_key = os.environ.pop(KEY_VARIABLE, "")
    if not api_key:
        print(f"{KEY_VARIABLE} is not set: this server does not run without a key.", file=sys.stderr)
        return 2
    if not options.model.is_file():
        print(f"There is no model at {options.model}. Fetch it with: python -m model_server.fetch", file=sys.stderr)
        return 2
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    return _serve(options, api_key)


def _serve(options: argparse.Namespace, api_key: str) -> int:
    chosen = params(options, api_key)
    import xllamacpp

    begun = time.monotonic()
    try:
        server = xllamacpp.Server(chosen)
    except Exception as error:  # whatever the C++ side throws: it ends this process either way
        print(f"llama.cpp could not start with {options.model}: {error}", file=sys.stderr)
        return 1
    ready = {"ready": True, "url": f"{server.listening_address}/v1", "threads": options.threads}
    print(json.dumps(ready | {"load_s": round(time.monotonic() - begun, 2)}), flush=True)
    try:
        while True:  # SIGTERM and SIGKILL end the process as they are; it has nothing to put away
            signal.pause()
    except KeyboardInterrupt:
        os._exit(130)  # not through C++ destructors, which would wait for requests


if __name__ == "__main__":
    raise SystemExit(main())
