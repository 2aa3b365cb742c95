"""What an engine said before it ended → the cause and the next step, for people. Pure: patterns and words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 400
"""Characters of the engine's own last words that are shown."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`pattern` is searched in all that was said; `{found}` in the words stands for its first group."""

    pattern: str
    words: str


TROUBLES = (
    Trouble(
        r"No module named '?vllm",
        "vLLM is not installed for this Python. Set CODEACT_VLLM_PYTHON to the interpreter that has it, or use its image.",
    ),
    Trouble(
        r"(?i)Cannot access gated repo|GatedRepoError|access to model .{0,80} is restricted|awaiting a review",
        "The model's licence has not been accepted, or the token is missing. Accept it on the model's page of the hub, "
        "make a token there that may read it, and set HF_TOKEN.",
    ),
    Trouble(
        r"(?i)RepositoryNotFoundError|Repository Not Found|not a valid model identifier|RevisionNotFoundError|"
        r"Invalid repository ID|is not a local folder",
        "The hub has no such model or revision, or shows it to others only. Check CODEACT_MODEL and CODEACT_MODEL_REVISION "
        "(python -m model_server list), and HF_TOKEN if it is private.",
    ),
    Trouble(
        r"(?i)(no file named|does not appear to have a file named|Cannot find any model weights|"
        r"no such file or directory: \S*(?:config\.json|safetensors))",
        "The directory does not hold a whole model. CODEACT_MODEL has to name a directory with config.json, the "
        "tokenizer's files and *.safetensors.",
    ),
    Trouble(
        r"(?i)LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to|Max retries exceeded|"
        r"Name or service not known|Temporary failure in name resolution|ConnectError",
        "The model hub cannot be reached. Check the network or the proxy; or fetch the model elsewhere (python -m "
        "model_server fetch), copy the directory and name it in CODEACT_MODEL.",
    ),
    Trouble(
        r"(?i)address already in use",
        "The port is taken by another program. Stop that one, or choose another CODEACT_MODEL_PORT.",
    ),
    Trouble(
        r"(?i)unrecognized arguments: (?P<found>[^\n]+)",
        "This vLLM does not know {found}. It is older than the model needs, or CODEACT_VLLM_ARGS is wrong.",
    ),
    Trouble(
        r"(?i)User-specified max_model_len \((?P<found>\d+)\) is greater than the derived",
        "The model is not made for {found} tokens. Lower CODEACT_MODEL_MAX_LEN, and CODEACT_MODEL_CONTEXT_TOKENS with it.",
    ),
    Trouble(
        r"(?i)larger than the available KV cache memory|No available memory for the cache blocks|"
        r"max seq len \(\d+\).{0,200}KV cache",
        "The GPU's memory holds the model, but not one whole conversation besides. Lower CODEACT_MODEL_MAX_LEN, raise "
        "CODEACT_VLLM_GPU_MEMORY, or share the model between GPUs (CODEACT_VLLM_TENSOR_PARALLEL).",
    ),
    Trouble(
        r"(?i)Free memory on device.{0,200}less than desired|available memory on node",
        "Less memory is free than the engine was told to take. Stop what else uses it (nvidia-smi lists who does), or "
        "lower CODEACT_VLLM_GPU_MEMORY.",
    ),
    Trouble(
        r"(?i)(CUDA|HIP) out of memory|OutOfMemoryError|failed to allocate|std::bad_alloc|Cannot allocate memory",
        "The model does not fit into the memory. Choose a smaller one (python -m model_server list says what each wants), "
        "or share it between GPUs (CODEACT_VLLM_TENSOR_PARALLEL).",
    ),
    Trouble(
        r"(?i)world size .{0,80}(larger|greater) than|not enough GPUs|fewer GPUs|Total number of attention heads",
        "This machine has not as many GPUs as the settings ask for, or the model cannot be cut that way. Lower "
        "CODEACT_VLLM_TENSOR_PARALLEL (it has to divide the number of attention heads), or use CODEACT_VLLM_RAY with more "
        "machines.",
    ),
    Trouble(
        r"(?i)No CUDA GPUs are available|Failed to infer device type|libcuda\.so|NVIDIA driver on your system|"
        r"no CUDA-capable device",
        "vLLM sees no GPU, or its driver is too old. nvidia-smi has to list it, in the container too (--gpus all, or the "
        "compose profile gpu).",
    ),
    Trouble(
        r"(?i)\bray\.\S*Error|Ray .{0,60}(not installed|not initialized)|placement group|No module named '?ray",
        "The Ray cluster is not there, or has fewer GPUs than asked for. Start it (ray start --head here, ray start "
        "--address on the others; ray status shows its GPUs), or set CODEACT_VLLM_RAY=false.",
    ),
    Trouble(
        r"(?i)No space left on device",
        "The disk is full. Free some, or set CODEACT_MODEL_DIR to a directory on another disk.",
    ),
    Trouble(
        r"(?i)you must provide a chat template",
        "The model has no chat template, so it is no chat model or its repository is not whole. Give it one: "
        "CODEACT_VLLM_ARGS=--chat-template FILE",
    ),
    Trouble(
        r"(?i)TemplateSyntaxError|jinja2\.exceptions|supplied chat template .{0,80}(not|looks like)",
        "The chat template cannot be used. Take it out of CODEACT_VLLM_ARGS, or correct it.",
    ),
)  # fmt: skip


def explain(said: Sequence[str], status: int | None) -> str:
    """`said`: the engine's lines, oldest first; `status`: of its process, if that has ended. The cause that is found first
    in the list above wins, since engines go on complaining after it."""
    text = "\n".join(said)
    for trouble in TROUBLES:
        if match := re.search(trouble.pattern, text):
            found = match.groupdict().get("found") or ""
            return f"{trouble.words.format(found=found.strip())} It said: {_line(text, match.start())}"
    if status is not None and status in (-9, 137):
        return "It was killed, as a rule because memory ran out. Choose a smaller model, or give this machine more memory."
    ended = "" if status is None else f"It ended with status {status}. "
    last = next((line for line in reversed(said) if line.strip()), "")
    return f"{ended}Its log says why. It said last: {last[:MOST]}" if last else f"{ended}It said nothing."


def _line(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start : end if end >= 0 else len(text)].strip()[:MOST]
