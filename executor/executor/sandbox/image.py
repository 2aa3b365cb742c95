"""The name of the sandbox image: its tag says what it was made of, so an image that is there need not be made again, and
one of another version is never taken for it. Run as a program, it prints the name."""

from __future__ import annotations

import hashlib
from pathlib import Path

CONTEXT = Path(__file__).resolve().parents[2] / "image"
REPOSITORY = "codeact-sandbox"
KINDS = ("*.py", "*.sh", "site/*.py", "Dockerfile", ".dockerignore", "requirements.lock")


def sources(context: Path = CONTEXT) -> list[Path]:
    """The files that the image is made of, in a fixed order."""
    return sorted(path for kind in KINDS for path in context.glob(kind))


def name(context: Path = CONTEXT) -> str:
    """`codeact-sandbox:<12 hexadecimal digits>`. Raises FileNotFoundError when the sources are not here."""
    if not (context / "Dockerfile").is_file():
        raise FileNotFoundError(f"No sources of the sandbox image at {context}; name the image in CODEACT_SANDBOX_IMAGE.")
    digest = hashlib.sha256()
    for path in sources(context):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(context)}\0{len(text)}\0".encode() + text)
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


if __name__ == "__main__":
    print(name())
