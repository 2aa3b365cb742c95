"""The gateway and kernel in a sandbox, as a client of the Jupyter protocol sees them."""

import asyncio
import time
from pathlib import Path

import pytest

from executor.sandbox.base import Limits, Spec
from tests.executor import seen
from tests.executor.kernel_client import connect, run

pytestmark = pytest.mark.sandbox


async def test_t36_a_kernel_that_dies_is_announced_at_once_and_replaced(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("x = 1")
        for death in ("import os; os._exit(1)", "import ctypes; ctypes.string_at(0)", "import os; os.kill(os.getpid(), 9)"):
            began = time.monotonic()
            assert (await client.run(death, 10)).error == "restarting"
            assert time.monotonic() - began < 3
            assert (await client.run("print('x' in globals())", 20)).stdout == "False\n"


async def test_t36_a_kernel_may_die_as_often_as_it_likes(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        for number in range(8):
            assert (await client.run(f"print({number}); import time; time.sleep(2.5)", 20)).stdout == f"{number}\n"
            assert (await client.run("import os; os._exit(1)", 10)).error == "restarting"


async def test_only_the_tenants_own_modules_are_found(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        ours = ("memory", "prompt_output", "questions", "services", "static", "names", "tables", "variables", "editor")
        for name in ("app", "gateway", "kernel", "manager", "relay", "prepare", *ours):
            assert "ModuleNotFoundError" in (await client.run(f"import {name}")).error
        await client.run("open('app.py', 'w').write('x = 7')")
        assert (await client.run("import app; print(app.x)")).stdout == "7\n"


async def test_what_a_dead_kernel_started_dies_with_it(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '4321'])")
        await client.run("import os; os._exit(1)")
        look = "import glob; print(any(b'4321' in open(path, 'rb').read() for path in glob.glob('/proc/[0-9]*/cmdline')))"
        assert (await client.run(look)).stdout == "False\n"


async def test_restart_on_request_tells_every_connection(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("x = 1")
        await client.send("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)")
        restarting = asyncio.create_task(client.run("1"))
        await asyncio.sleep(0.5)
        assert await client.post("restart") == 200
        assert (await restarting).error == "restarting"
        assert (await client.run("print('x' in globals())")).stdout == "False\n"


async def test_t17_interrupt_stops_a_loop_and_keeps_the_variables(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("x = 1")
        looping = asyncio.create_task(client.run("print('in', flush=True)\nwhile True: pass"))
        await asyncio.sleep(0.5)
        assert await client.post("interrupt") == 204
        assert "KeyboardInterrupt" in (await looping).error
        assert (await client.run("print(x)")).stdout == "1\n"


async def test_the_first_line_comes_while_the_cell_runs_on(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("1")
        await client.send("print('early')\nimport time; time.sleep(2)")
        began = time.monotonic()
        while True:
            _, header, _, content = await client.receive()
            if header["msg_type"] == "stream":
                break
        assert content["text"] == "early\n" and time.monotonic() - began < 1


async def test_a_second_connection_is_heard_while_the_first_is_open_and_busy(sandbox: seen.Any) -> None:
    async with connect(sandbox) as first, connect(sandbox) as second:
        await first.run("1")
        assert (await second.run("print(2)", 10)).stdout == "2\n"
        await first.send("import time; time.sleep(2)")
        assert (await second.run("print(3)", 20)).stdout == "3\n"


async def test_t14_100_mb_of_output_arrive_whole(backend: seen.AnyBackend, tmp_path: Path) -> None:
    sandbox = await backend.create(Spec("loud", tmp_path / "ws", Limits()))
    code = "for i in range(100): print(chr(97 + i % 26) * (1024 * 1024 - 1))"
    async with connect(sandbox) as client, asyncio.timeout(100):
        id, received, idle = await client.send(code), 0, False
        while not idle:
            _, header, parent, content = await client.receive()
            if parent.get("msg_id") == id:
                received += len(content.get("text", "")) if header["msg_type"] == "stream" else 0
                idle = header["msg_type"] == "status" and content["execution_state"] == "idle"
    assert received == 100 * 1024 * 1024


async def test_t14_flushed_lines_come_all_and_in_order(sandbox: seen.Any) -> None:
    result = await run(sandbox, "for i in range(5000): print(i, flush=True)")
    assert result.stdout == "".join(f"{i}\n" for i in range(5000))


async def test_t14_a_client_that_reads_nothing_leaves_the_gateway_small(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("1")
        await client.send("for i in range(400): print('x' * (1024 * 1024))")
        client.ws._response.connection.transport.pause_reading()
        await asyncio.sleep(4)
        status = Path(f"/proc/{seen.gateway(sandbox)}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) // 1024
        client.ws._response.connection.transport.resume_reading()
        assert resident < 250, f"{resident} MiB"


async def test_t26_input_fails_with_words(sandbox: seen.Any) -> None:
    for code in ("input('name? ')", "import getpass; getpass.getpass()"):
        assert "without a keyboard" in (await run(sandbox, code, 5)).error


@pytest.mark.parametrize("command", ["!pip install x", "%pip install x", "!python -m pip install -q x", "!pip3 download x"])
async def test_t27_pip_says_at_once_that_there_is_no_network(sandbox: seen.Any, command: str) -> None:
    async with connect(sandbox) as client:
        await client.run("1")
        began = time.monotonic()
        result = await client.run(command)
        assert "no network" in result.stdout + result.stderr and time.monotonic() - began < 2


async def test_plots_arrive_as_png_and_libraries_import(sandbox: seen.Any) -> None:
    code = (
        "import matplotlib.pyplot as plt, numpy, pandas, scipy, sympy, sklearn, requests, PIL; plt.plot([1, 2]); plt.show()"
    )
    result = await run(sandbox, code)
    assert (result.error, result.stderr) == ("", "")
    [image] = [content for kind, content in result.messages if kind == "display_data"]
    assert "image/png" in image["data"]


async def test_the_workspace_stays_clean(backend: seen.AnyBackend, tmp_path: Path) -> None:
    sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    await run(sandbox, "import matplotlib.pyplot as plt; plt.plot([1]); plt.show(); %history\n")
    assert list((tmp_path / "ws").iterdir()) == []
