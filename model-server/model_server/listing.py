"""The catalogue as a table."""

from __future__ import annotations

from model_server.catalogue import CATALOGUE, DEFAULT, Model

HEAD = ("model", "parameters", "context", "profile", "GPU memory", "vLLM", "licence")


def table() -> str:
    """Columns as wide as their widest cell; the embedded model is marked."""
    rows = [HEAD, *(_row(model) for model in CATALOGUE)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", f"* also as a file for llama.cpp on a CPU ({DEFAULT.file}); the default there."])


def _row(model: Model) -> tuple[str, ...]:
    gated = ", to be accepted at the hub" if model.gated else ""
    return (
        f"{model.id}{'*' if model.gguf else ''}",
        f"{model.parameters:g} B",
        f"{model.served:,} of {model.context:,}" if model.served != model.context else f"{model.context:,}",
        model.profile,
        f"{model.gpu_gib} GiB",
        f"{model.minimum} or newer",
        f"{model.licence}{gated}",
    )
