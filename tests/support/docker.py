"""Docker for tests: whether an engine answers, the sandbox image, and clearing away what tests made.

Before the first test, where some need it: an engine that is installed is started, if none answers and this is root, and the
image is built. Nothing is installed. Where there is no engine, what needs it is skipped and says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "docker"
LABEL = "codeact.test"  # on every container that a test makes by itself, with the test process's id
BUILD_S = 1200


def docker(*arguments: str, timeout: float = 120, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the docker command; its status is the caller's to judge."""
    return subprocess.run(["docker", *arguments], input=text, capture_output=True, text=True, timeout=timeout, check=False)


def answers() -> bool:
    return shutil.which("docker") is not None and docker("info", timeout=30).returncode == 0


@cache
def engine() -> str:
    """Why Docker cannot be used here; empty when an engine answers. Starts one that is installed, as root."""
    if shutil.which("docker") is None:
        return "Docker is not installed (as root, deploy/docker/test-engine.sh installs and starts it)"
    if answers():
        return ""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        return f"no Docker engine answers: {docker('info').stderr.strip().splitlines()[-1]}"
    started = run("test-engine.sh", "--no-install")
    return "" if started.returncode == 0 else started.stderr.strip().splitlines()[-1]


@cache
def image() -> str:
    """The sandbox image's name; builds it when it is missing. Raises RuntimeError with the builder's words."""
    built = run("build-sandbox.sh")
    if built.returncode != 0:
        raise RuntimeError(f"the sandbox image could not be built:\n{built.stderr}")
    return built.stdout.strip()


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs one of the scripts in deploy/docker."""
    command = [DEPLOY / script, *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_S, check=False)


def containers(label: str) -> list[str]:
    """The ids of all containers with the label, running or not."""
    return docker("ps", "-aq", "--no-trunc", "--filter", f"label={label}").stdout.split()


def remove(label: str) -> None:
    """Ends and removes all containers with the label."""
    if found := containers(label):
        docker("rm", "--force", "--volumes", *found)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the image before any test's clock runs: the first time takes minutes."""
    wanted = any("sandbox_image" in getattr(item, "fixturenames", ()) or "docker" in item.nodeid for item in session.items)
    if wanted and not session.config.option.collectonly and not engine():
        with suppress(RuntimeError):  # the fixture tells it, to each test that needs the image
            image()


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Skips what needs an engine where there is none."""
    if why := engine():
        pytest.skip(why)


@pytest.fixture(scope="session")
def sandbox_image(docker_engine: None) -> str:
    """The name of the sandbox image, which is there."""
    return image()


@pytest.fixture
def own_label(docker_engine: None) -> Iterator[str]:
    """`name=value` for containers that a test makes; they are gone afterwards, whatever became of the test."""
    label = f"{LABEL}={os.getpid()}"
    yield label
    remove(label)
