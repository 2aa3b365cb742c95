"""Settings → the engine's command line and environment. Pure but for looking at what this machine has."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from model_server.catalogue import DEFAULT, DEFAULT_VLLM, MODELS, EmbeddedModel, Model, find
from model_server.fetch import fetched
from model_server.llama import KEY_VARIABLE
from model_server.settings import ServeSettings

VLLM = ("-m", "vllm.entrypoints.openai.api_server")
"""Not the `vllm` command: CPU builds under another distribution's name come without the metadata that it reads."""
SHORTEST_KEY = 16
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
OURS = frozenset({"--api-key", "--host", "--port", "--uds"})


class CannotServe(Exception):
    """What was asked for cannot be served. The message names the cause and the next step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one engine is started. `environment` holds what it gets besides ours, the key among it; the command holds no
    secret."""

    name: str  # of the model, in the API
    command: tuple[str, ...]
    url: str  # where this machine reaches it: http://host:port
    key: str = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()  # what the operator should know


def plan_vllm(settings: ServeSettings) -> Plan:
    """Raises CannotServe, UnknownModel."""
    model = find(settings.model or DEFAULT_VLLM.id)
    key = checked_key(settings)
    if settings.vllm_device == "gpu" and not any(device.exists() for device in GPU_DEVICES):
        raise CannotServe(
            "No GPU can be seen here, and vLLM needs one. Install its driver (nvidia-smi has to list it); in a container, "
            "hand it in (--gpus all, or the compose profile gpu). Without a GPU: CODEACT_MODEL_ENGINE=llamacpp, or "
            "CODEACT_VLLM_DEVICE=cpu with a CPU build of vLLM."
        )
    length = settings.model_max_len or model.served
    arguments = [
        *_files(settings, model),
        *("--served-model-name", model.id),
        *("--host", settings.model_host, "--port", str(settings.model_port)),
        *("--max-model-len", str(length)),
        *("--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"),
        # The repository's own sampling defaults (a repetition penalty, for one) would bend code that has to be exact.
        *("--generation-config", "vllm", "--override-generation-config", _sampling(model)),
        *(("--chat-template", str(model.template_path)) if model.template_path else ()),
        *_hardware(settings),
        *model.arguments,
        *_more(settings.vllm_args),
    ]
    environment = {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if settings.model_dir is not None:
        environment["HF_HUB_CACHE"] = str(settings.model_dir / "hub")
    command = (settings.vllm_python or sys.executable, *VLLM, *arguments)
    return Plan(model.id, command, local_url(settings), key, environment, notes(model, length, settings))


def plan_llama(settings: ServeSettings, file: Path) -> Plan:
    """`file`: the model's, fetched already. Raises CannotServe, UnknownModel."""
    model, key = gguf(settings), checked_key(settings)
    command = (
        *(sys.executable, "-m", "model_server.llama", "--model", str(file), "--alias", model.name),
        *("--context", str(settings.model_max_len or model.context)),
        *("--host", settings.model_host, "--port", str(settings.model_port)),
    )
    return Plan(model.name, command, local_url(settings), key, {KEY_VARIABLE: key})


def gguf(settings: ServeSettings) -> EmbeddedModel:
    """The file that llama.cpp is to serve. Raises CannotServe, UnknownModel."""
    if not settings.model:
        return DEFAULT
    if found := find(settings.model).gguf:
        return found
    raise CannotServe(
        f"llama.cpp has no file of {settings.model} here; it has {', '.join(MODELS)}. Choose that one, or a server with a "
        "GPU: CODEACT_MODEL_ENGINE=vllm."
    )


def checked_key(settings: ServeSettings) -> str:
    """Raises CannotServe where there is none, or one that can be guessed."""
    try:
        key = settings.key
    except OSError as error:
        words = f"CODEACT_MODEL_API_KEY_FILE cannot be read: {settings.model_api_key_file} ({error.strerror})."
        raise CannotServe(words) from error
    if len(key) >= SHORTEST_KEY:
        return key
    what = f"CODEACT_MODEL_API_KEY is shorter than {SHORTEST_KEY} characters" if key else "CODEACT_MODEL_API_KEY is not set"
    raise CannotServe(f"{what}: a model server does not run without a key. Make one with: openssl rand -hex 32")


def local_url(settings: ServeSettings) -> str:
    """How this machine reaches a server that listens on all addresses, or on one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.model_host, settings.model_host)  # noqa: S104
    return f"http://{host}:{settings.model_port}"


def notes(model: Model, length: int, settings: ServeSettings) -> tuple[str, ...]:
    """What differs from what the orchestrator takes for granted, and what the model asks of this machine."""
    said = []
    if model.gpu_gib and settings.vllm_device == "gpu":
        gpus = settings.vllm_tensor_parallel * settings.vllm_pipeline_parallel
        each = f"{-(-model.gpu_gib // gpus)} GiB on each of {gpus} GPUs" if gpus > 1 else f"{model.gpu_gib} GiB"
        said.append(f"{model.title} wants about {each} of GPU memory.")
    if model.gated:
        said.append(f"Its licence ({model.licence}) has to be accepted at the hub once; HF_TOKEN then lets this server in.")
    if length < 16_384:
        said.append(f"Tell the orchestrator how long its conversations may get: CODEACT_MODEL_CONTEXT_TOKENS={length}")
    return tuple(said)


def _files(settings: ServeSettings, model: Model) -> tuple[str, ...]:
    """What was fetched before; else the repository at its revision, which vLLM then fetches itself."""
    revision = settings.model_revision or model.revision
    if here := fetched(model, revision or "main", settings.model_dir):
        return ("--model", str(here))
    pinned = revision and not Path(model.repository).is_absolute()
    return ("--model", model.repository, *(("--revision", revision) if pinned else ()))


def _sampling(model: Model) -> str:
    return json.dumps({"temperature": model.sampling.temperature, "top_p": model.sampling.top_p})


def _hardware(settings: ServeSettings) -> tuple[str, ...]:
    found: list[str] = []
    if settings.vllm_device == "gpu":
        found += ["--gpu-memory-utilization", f"{settings.vllm_gpu_memory:g}"]
    else:
        found += ["--enforce-eager"]
    if settings.vllm_tensor_parallel > 1:
        found += ["--tensor-parallel-size", str(settings.vllm_tensor_parallel)]
    if settings.vllm_pipeline_parallel > 1:
        found += ["--pipeline-parallel-size", str(settings.vllm_pipeline_parallel)]
    if settings.vllm_ray:
        found += ["--distributed-executor-backend", "ray"]
    if settings.vllm_max_num_seqs:
        found += ["--max-num-seqs", str(settings.vllm_max_num_seqs)]
    return tuple(found)


def _more(arguments: str) -> list[str]:
    """Raises CannotServe for what has a setting of its own, the key above all: a command line can be read by everybody."""
    try:
        found = shlex.split(arguments)
    except ValueError as error:
        raise CannotServe(f"CODEACT_VLLM_ARGS cannot be read as a command line: {error}.") from error
    if taken := [argument for argument in found if argument.partition("=")[0] in OURS]:
        raise CannotServe(
            f"CODEACT_VLLM_ARGS may not hold {taken[0].partition('=')[0]}: use CODEACT_MODEL_API_KEY, CODEACT_MODEL_HOST "
            "and CODEACT_MODEL_PORT."
        )
    return found


def environment(plan: Plan) -> dict[str, str]:
    """What the engine's process sees: everything but our own secrets under their own names."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEACT_MODEL_API_KEY")}
    return kept | plan.environment
