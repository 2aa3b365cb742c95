"""T7 with a real tenant: while the executor works with its files, a cell swaps them for links, pipes and folders, all the
time. Whatever comes of it, nothing outside the workspace is read, written, removed or changed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import stat
import zipfile
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn

from executor.api.app import create_app
from executor.storage.names import STAGING
from executor.wire import Outcome
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox

TOKEN = "a service token"
TEXT = "what nobody must read"
ROUNDS = 30
FILES = """
import os, threading
def swap():
    n = 0
    while not os.path.exists("stop"):
        n += 1
        try:
            for make in (lambda: os.symlink(SECRET, "x"), lambda: open("x", "w").write("mine"), lambda: os.mkfifo("x"),
                         lambda: os.symlink("/proc/self/environ", "x"), lambda: open("x", "w").write("mine")):
                make()
                os.rename("x", "f")
        except OSError:
            if os.path.isdir("f"): os.rename("f", f"was-{n}")
            if os.path.lexists("x"): os.unlink("x")
threading.Thread(target=swap, daemon=True).start()
"""
FOLDERS = """
import os, shutil, threading
def swap():
    while not os.path.exists("stop"):
        try:
            shutil.rmtree("d", ignore_errors=True)
            if os.path.islink("d"): os.unlink("d")
            os.makedirs("d/a/b/c")
            open("d/a/kept", "w").write("mine")
            for name in ("d/a/b", "d/a", "d"):
                os.rename(name, "other")
                os.symlink(OUTSIDE, name)
                os.unlink(name)
                os.rename("other", name)
            os.rename("d", "other")
            os.symlink(OUTSIDE, "d")
            os.unlink("d")
            shutil.rmtree("other", ignore_errors=True)
        except OSError:
            shutil.rmtree("other", ignore_errors=True)
for _ in range(2):
    threading.Thread(target=swap, daemon=True).start()
"""
STAGED = """
import os, shutil, threading
def swap():
    while not os.path.exists("stop"):
        for name in os.listdir(".incoming") if os.path.isdir(".incoming") else ():
            lying = ".incoming/" + name
            try:
                os.rename(lying, "taken")
                os.symlink(SECRET, lying)
                os.unlink(lying)
                os.mkdir(lying)
                os.rmdir(lying)
                os.rename("taken", lying)
            except OSError:
                pass
        try:
            os.rename(".incoming", "away")
            os.symlink(OUTSIDE, ".incoming")
            os.unlink(".incoming")
            os.rename("away", ".incoming")
        except OSError:
            shutil.rmtree("away", ignore_errors=True)
threading.Thread(target=swap, daemon=True).start()
"""


@asynccontextmanager
async def serving(data_dir, **settings):
    """The whole service, with the files of conversation `c`, whose sandbox runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with managing(data_dir, **settings) as manager:
            server = uvicorn.Server(uvicorn.Config(create_app(manager, TOKEN), log_level="critical"))
            task = asyncio.create_task(server.serve([listener]))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/conversations/c/"
            async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as http:
                yield http, manager
            server.should_exit = True
            await task


@pytest.fixture
def outside(tmp_path):
    """What must stay as it is: readable by everybody, so that nothing but care keeps us out."""
    made = tmp_path / "outside"
    (made / "inner").mkdir(parents=True)
    (made / "secret").write_text(TEXT)
    (made / "inner" / "kept").write_text(TEXT)
    made.chmod(0o755)
    return made


def state(outside) -> list[tuple]:
    return [
        (
            str(path),
            stat.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_mtime_ns,
            info.st_nlink,
            path.is_file() and path.read_text(),
        )
        for path in sorted([outside, *outside.rglob("*")])
        for info in [path.lstat()]
    ]


async def ask(http, method: str, path: str, **how) -> tuple[str, bytes]:
    """`ok` or the refusal's code, and the body."""
    try:
        async with http.request(method, path, **how) as answer:
            data = await answer.read()
    except aiohttp.ClientPayloadError:
        return "cut", b""
    if answer.status < 400:
        return "ok", data
    assert answer.status < 500 or answer.status in (503, 507), data
    return json.loads(data)["error"], data


async def haunted(http, manager, outside, code: str, *asked, wanted: tuple[str, ...] = ()) -> Counter:
    """Everything asked, some rounds, and more until what is `wanted` has succeeded once, while the code runs; what came of
    it. The secret text is never told."""
    chat, before = Chat(manager, "c"), state(outside)
    ran = await chat.run(f"SECRET, OUTSIDE = {str(outside / 'secret')!r}, {str(outside)!r}\n{code}")
    assert ran.outcome is Outcome.OK
    seen: Counter = Counter()
    rounds = 0
    while rounds < ROUNDS or (rounds < 50 * ROUNDS and not all(seen[what, "ok"] for what in wanted)):
        rounds += 1
        for method, path, how in asked:
            async with asyncio.timeout(30):
                said, data = await ask(http, method, path, **how)
            seen[f"{method} {path}", said] += 1
            if path == "archive" and said == "ok":
                made = zipfile.ZipFile(io.BytesIO(data))
                data = b"".join(made.read(name) for name in made.namelist())
            assert TEXT.encode() not in data and b"PATH=" not in data, (method, path)
    assert state(outside) == before
    ran = await chat.run("open('stop', 'w').close()")
    assert ran.outcome is Outcome.OK
    return seen


def zipped(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for name in names:
            made.writestr(name, "imported")
    return held.getvalue()


async def test_t7_a_file_that_becomes_a_link_or_a_pipe_all_the_time(tmp_path, outside, by):
    async with serving(tmp_path, **by) as (http, manager):
        seen = await haunted(
            *(http, manager, outside, FILES),
            ("GET", "file?path=f", {}),
            ("PUT", "file?path=f", {"data": b"written"}),
            ("GET", "files", {}),
            ("POST", "archive", {"json": {"paths": [""]}}),
            ("POST", "move", {"json": {"from": "f", "to": "g", "replace": True}}),
            wanted=("GET file?path=f", "PUT file?path=f"),
        )
        assert seen["GET file?path=f", "ok"] and seen["PUT file?path=f", "ok"]
        assert sum(count for (what, said), count in seen.items() if what == "GET file?path=f" and said != "ok")


async def test_t7_a_folder_that_becomes_a_link_all_the_time(tmp_path, outside, by):
    async with serving(tmp_path, **by) as (http, manager):
        seen = await haunted(
            *(http, manager, outside, FOLDERS),
            ("GET", "file?path=d/secret", {}),
            ("GET", "file?path=d/a/kept", {}),
            ("PUT", "file?path=d/a/b/new&parents=true", {"data": b"written"}),
            ("PUT", "folder?path=d/a/b/made&parents=true", {}),
            ("GET", "files?path=d", {}),
            ("POST", "archive", {"json": {"paths": [""]}}),
            ("POST", "import?path=d/a&replace=true", {"data": zipped("b/x", "y", "inner/kept")}),
            ("POST", "move", {"json": {"from": "d/a", "to": "d/z"}}),
            ("DELETE", "file?path=d/a", {}),
            ("DELETE", "file?path=d", {}),
        )
        assert {said for what, said in seen if what == "GET file?path=d/secret"} <= {"not_found", "not_a_directory"}
        assert sum(count for (what, said), count in seen.items() if said == "ok") > ROUNDS


async def test_t7_what_is_on_its_way_is_swapped_all_the_time(tmp_path, outside, by):
    async with serving(tmp_path, **by) as (http, manager):
        seen = await haunted(
            *(http, manager, outside, STAGED),
            ("PUT", "file?path=f", {"data": b"written" * 100_000}),
            ("POST", "import?replace=true", {"data": zipped("a/b", "c")}),
            ("PUT", "folder?path=d/e&parents=true", {}),
            ("DELETE", "file?path=d", {}),
        )
        assert seen["PUT folder?path=d/e&parents=true", "ok"]


async def test_files_are_shared_with_the_sandbox_and_outlive_it(tmp_path, by):
    async with serving(tmp_path, **by) as (http, manager):
        assert (await ask(http, "PUT", "file?path=in/a.txt&parents=true", data=b"before"))[0] == "ok"
        assert manager.slot_of("c") is None  # no sandbox was needed, and none was made
        chat = Chat(manager, "c")
        ran = await chat.run("open('in/a.txt', 'a').write(' and after'); open('in/b.txt', 'w').write('made')")
        assert ran.outcome is Outcome.OK, ran.events
        assert (await ask(http, "GET", "file?path=in/a.txt"))[1] == b"before and after"
        used = manager.slot_of("c").used
        assert (await ask(http, "PUT", "file?path=in/c.txt", data=b"uploaded"))[0] == "ok"
        assert manager.slot_of("c").used > used  # somebody is there: the sandbox is not idle
        ran = await chat.run(
            "import os; t = open('in/c.txt').read(); open('in/c.txt', 'w').write('mine'); os.rename('in', 'out')"
        )
        assert ran.outcome is Outcome.OK, ran.events
        assert not any(STAGING in change.path for change in ran.closed.files)
    async with serving(tmp_path, **by) as (http, manager):
        assert json.loads((await ask(http, "GET", "files?path=out"))[1])["entries"][2]["name"] == "c.txt"
        assert (await ask(http, "GET", "file?path=out/c.txt"))[1] == b"mine"
        assert manager.slot_of("c") is None


async def test_files_need_the_token_too(tmp_path):
    async with serving(tmp_path) as (http, _):
        for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            for method, path in (("GET", "files"), ("GET", "file?path=f"), ("PUT", "file?path=f"), ("POST", "import")):
                async with http.request(method, path, headers=headers) as answer:
                    assert answer.status == 401
        assert not os.path.lexists(tmp_path / "workspaces" / "c")
