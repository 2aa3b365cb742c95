"""The models that are known here, read from `models.toml`: what each is, where it comes from, how it wants to be run."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
UNKNOWN_CONTEXT = 16_384
"""Tokens that a model which is not in the catalogue is served with: what the orchestrator uses unless told otherwise."""


class UnknownModel(Exception):
    """No such model. The message lists those there are, and says how another one is named."""


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


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue. `id` is also the name that the server gives it; the fields are explained in the file."""

    id: str
    title: str
    repository: str  # on the model hub, or a directory of this machine
    revision: str  # empty: whatever the repository's main branch has
    licence: str
    context: int
    served: int
    profile: str
    parameters: float = 0.0
    gpu_gib: int = 0  # 0: not known
    minimum: str = ""
    gated: bool = False  # its licence has to be accepted at the hub first
    template: str = ""
    arguments: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    gguf: EmbeddedModel | None = None

    @property
    def template_path(self) -> Path | None:
        """The chat template of ours, if it needs one."""
        return TEMPLATES / self.template if self.template else None


def read(path: Path) -> tuple[Model, ...]:
    """Every entry, in the file's order."""
    return tuple(_model(entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["models"])


def find(name: str) -> Model:
    """The catalogue's entry of that id (case does not matter); else the directory or the hub repository of that name, about
    which nothing more is known. Raises UnknownModel."""
    if known := BY_ID.get(name.lower()):
        return known
    listed = next((model for model in CATALOGUE if model.repository.lower() == name.lower()), None)
    if listed is not None:
        return listed
    directory = Path(name).expanduser()
    if name and directory.is_dir():
        return _in(directory.absolute())
    owner, slash, repository = name.partition("/")
    if slash and owner and repository and "/" not in repository and not name.startswith((".", "~")):
        return _other(repository.lower(), name)
    raise UnknownModel(
        f"There is no model {name!r}. Known here: {', '.join(BY_ID)}. Another one is named by its repository on the hub "
        "(owner/name) or by a directory that holds its files."
    )


def _in(directory: Path) -> Model:
    """A directory named like a model of the catalogue holds that model."""
    if known := BY_ID.get(directory.name.lower()):
        return replace(known, repository=str(directory), revision="")
    return _other(directory.name.lower(), str(directory))


def _model(entry: dict[str, Any]) -> Model:
    sampling = Sampling(**entry.get("sampling", {}))
    gguf = _gguf(entry, sampling) if "gguf" in entry else None
    fields = entry | {"arguments": tuple(entry.get("arguments", ())), "sampling": sampling, "gguf": gguf}
    return Model(**fields)


def _gguf(entry: dict[str, Any], sampling: Sampling) -> EmbeddedModel:
    fields = dict(entry["gguf"])
    wheels = WheelParts(**fields.pop("wheels")) if "wheels" in fields else None
    shared = {name: entry[name] for name in ("licence", "profile")}
    return EmbeddedModel(name=entry["id"], wheels=wheels, sampling=sampling, **shared, **fields)


def _other(name: str, repository: str) -> Model:
    """The orchestrator's rule for names decides its profile; a CodeActAgent model gets the template it was trained on."""
    codeact = "codeact" in name
    return Model(
        id=name, title=name, repository=repository, revision="", licence="see its repository", context=UNKNOWN_CONTEXT,
        served=UNKNOWN_CONTEXT, profile="codeact" if codeact else "fenced", template="chatml.jinja" if codeact else "",
    )  # fmt: skip


CATALOGUE = read(HERE / "models.toml")
BY_ID = {model.id: model for model in CATALOGUE}
MODELS = {model.gguf.name: model.gguf for model in CATALOGUE if model.gguf is not None}
"""Those that llama.cpp can serve here."""

DEFAULT = MODELS["qwen2.5-coder-1.5b-instruct"]
DEFAULT_VLLM = BY_ID["codeactagent-mistral-7b-v0.1"]
