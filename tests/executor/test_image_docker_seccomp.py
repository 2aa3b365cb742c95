"""T4 with the JSON profile and nothing else: in a container of the sandbox image whose user is root and has the engine's
usual capabilities."""

from __future__ import annotations

import ast
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.sandbox import seccomp_json
from tests.support.docker import docker
from tests.support.system_calls import FOREIGN, KILLED, PROBE, expected

pytestmark = pytest.mark.sandbox

Inside = Callable[[str], str]
"""Runs a program in a container; what it printed."""


@pytest.fixture
def inside(sandbox_image: str, own_label: str, tmp_path: Path) -> Inside:
    (tmp_path / "profile.json").write_text(seccomp_json.text())
    options = ("--rm", "-i", "--label", own_label, "--network", "none", "--user", "0")
    python = ("--entrypoint", "/opt/venv/bin/python", sandbox_image, "-")

    def run(code: str) -> str:
        ran = docker("run", *options, f"--security-opt=seccomp={tmp_path}/profile.json", *python, text=code)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def test_t4_dangerous_system_calls_fail(inside: Inside) -> None:
    found = ast.literal_eval(inside(PROBE))
    assert found == {name: expected(name) for name in found}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is an ABI of x86-64")
def test_t4_another_abi_kills_the_caller(inside: Inside) -> None:
    assert inside(FOREIGN).strip() == KILLED


def test_t4_what_programs_need_is_left(inside: Inside) -> None:
    """Threads, processes, pipes, memory, files, sockets of their own, timers."""
    code = """
import concurrent.futures, mmap, multiprocessing, os, socket, subprocess, sys, tempfile, threading, time
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(int, range(10))) == 45
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
assert subprocess.check_output([sys.executable, "-c", "print(1)"]) == b"1\\n"
one, other = socket.socketpair(); one.send(b"x"); assert other.recv(1) == b"x"
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
fd = os.memfd_create("m"); os.write(fd, b"x" * 4096); assert len(mmap.mmap(fd, 4096)) == 4096
os.sched_getaffinity(0); os.getrandom(8); os.pidfd_open(os.getpid()); time.sleep(0.001)
print("all")
"""
    assert inside(code).strip() == "all"
