"""Packages: installed from the operator's index where the network was granted, refused at once and in words where not."""

import base64
import hashlib
import io
import shutil
import tarfile
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from executor.egress.beside import contents
from executor.egress.door import Egress
from executor.egress.indexes import Indexes, indexes
from executor.egress.rules import Rules, entries
from executor.sandbox.base import Limits, Profile, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.running import Running
from tests.executor.egress_world import Names
from tests.executor.kernel_client import Result, connect, run

pytestmark = pytest.mark.sandbox


def wheel(name: str, version: str, needs: str = "") -> tuple[str, bytes]:
    """A pure package with one module and one console script, both named like itself."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\ndef main():\n    print('ran', version)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items())
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl", made.getvalue()


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


BUILDS_ITSELF = """
import base64, sys
sys.path.insert(0, ".")
def build_wheel(directory, config_settings=None, metadata_directory=None):
    open(f"{directory}/frombuild-1.0-py3-none-any.whl", "wb").write(base64.b64decode(open("wheel").read()))
    return "frombuild-1.0-py3-none-any.whl"
"""


def source() -> tuple[str, bytes]:
    """A package as its source, whose build needs nothing from the index."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n',
        "own.py": BUILDS_ITSELF,
        "wheel": base64.b64encode(wheel("frombuild", "1.0")[1]).decode(),
        "PKG-INFO": "Metadata-Version: 2.1\nName: frombuild\nVersion: 1.0\n",
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"frombuild-1.0/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return "frombuild-1.0.tar.gz", made.getvalue()


OFFERED = dict(
    [
        wheel("tinyone", "1.0"),
        wheel("tinyone", "2.0"),
        wheel("onnumpy", "1.0", "Requires-Dist: numpy\nRequires-Dist: tinyone<2\n"),
        wheel("wantsold", "1.0", "Requires-Dist: numpy<1\n"),
        wheel("numpy", "0.9"),
        wheel("numpy", "99.0"),
        source(),
    ]
)


def printed(result: Result) -> str:
    """Where programs have a terminal, their lines end as a terminal's do."""
    return result.stdout.replace("\r\n", "\n")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A package index on loopback."""

    async def project(request: web.Request) -> web.Response:
        files = [name for name in OFFERED if name.startswith(f"{request.match_info['name']}-")]
        links = "".join(f"<a href='/files/{name}'>{name}</a>" for name in files)
        return web.Response(text=f"<!DOCTYPE html><html><body>{links}</body></html>", content_type="text/html")

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=OFFERED[request.match_info["name"]], content_type="application/octet-stream")

    app = web.Application()
    app.router.add_get("/simple/{name}/", project)
    app.router.add_get("/files/{name}", file)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's name has 107 bytes at most."""
    made = Path(tempfile.mkdtemp(prefix="egress-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def egress(port: int) -> AsyncIterator[Egress]:
    known = indexes({"index-url": f"http://index.test:{port}/simple", "trusted-host": "index.test"})
    rules = Rules(entries(f"index.test:{port}"), entries("index.test"))
    made = Egress(rules, Names({"index.test": [["127.0.0.1"]]}), contents(known, b""))
    yield made
    await made.close()


@pytest.fixture
async def granted(backend: Bubblewrap, egress: Egress, directory: Path) -> AsyncIterator[Running]:
    door = await egress.open("one", directory / "egress" / "one" / "proxy.sock")
    made = await backend.create(Spec("one", directory / "ws", Limits(), Profile.NET, egress=door.path))
    yield made
    await made.kill()


async def test_t27_with_a_grant_packages_are_installed_and_imported(
    granted: Running, backend: Bubblewrap, directory: Path
) -> None:
    async with connect(granted) as client:
        result = await client.run("%pip install -q tinyone==1.0\nimport tinyone; print('version', tinyone.version)")
        assert "version 1.0" in result.stdout and result.error == "", result
        result = await client.run("!tinyone\n!pip install onnumpy frombuild | tail -1\nimport onnumpy, frombuild, numpy")
        assert "ran 1.0" in result.stdout and "Successfully installed frombuild-1.0 onnumpy-1.0" in result.stdout
        assert result.error == ""
        result = await client.run("import sys; print(numpy.__file__.startswith(sys.prefix), tinyone.__file__)")
        assert result.stdout == "True /workspace/.local/lib/python3.11/site-packages/tinyone.py\n"
    assert [path.name for path in (directory / "ws").iterdir()] == [".local"]
    await granted.kill()
    again = await backend.create(Spec("two", directory / "ws", Limits()))  # another sandbox, without a grant
    look = (
        "import onnumpy, subprocess, sys; print(onnumpy.version)\n!tinyone\n!python -c 'import frombuild; frombuild.main()'"
    )
    assert printed(await run(again, look)) == "1.0\nran 1.0\nran 1.0\n"


async def test_t27_installed_packages_are_upgraded_listed_and_removed(granted: Running) -> None:
    async with connect(granted) as client:
        await client.run("%pip install -q tinyone==1.0")
        assert "Successfully installed tinyone-2.0" in (await client.run("!pip install -U tinyone")).stdout
        listed = (await client.run("!pip list --format=freeze | grep -E 'tinyone|numpy=='")).stdout
        assert listed.count("tinyone") == 1 and "tinyone==2.0" in listed and "numpy==" in listed
        assert printed(await client.run("!tinyone")) == "ran 2.0\n"
        assert "Successfully uninstalled tinyone-2.0" in (await client.run("!pip uninstall -y tinyone")).stdout
        assert "ModuleNotFoundError" in (await client.run("import tinyone")).error


@pytest.mark.parametrize(
    "command", ["numpy==99.0", "numpy==0.9", "wantsold", "-U numpy==99.0", "--force-reinstall numpy==99.0"]
)
async def test_t27_what_the_image_brings_cannot_be_replaced(granted: Running, command: str) -> None:
    async with connect(granted) as client:
        result = await client.run(f"!pip install {command}")
        assert "conflict" in result.stdout and "constraint" in result.stdout, result.stdout
        result = await client.run("!pip uninstall -y numpy\nimport numpy; print('there', numpy.__version__ > '1')")
        assert printed(result).endswith("there True\n")


async def test_t27_what_lies_among_the_packages_is_not_run_at_the_start(backend: Bubblewrap, directory: Path) -> None:
    """The workspace outlives the sandbox: what it holds must neither reach the next gateway nor keep the kernel from
    starting."""
    packages = directory / "ws" / ".local" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    mark = "import os; os.close(os.open('/workspace/run-' + __name__, os.O_CREAT)); os._exit(1)\n"
    names = (
        "sitecustomize",
        "usercustomize",
        "numpy",
        "tornado",
        "ipykernel",
        "orjson",
        "rfc3987_syntax",
        "app",
        "forwarder",
    )
    for name in names:
        (packages / f"{name}.py").write_text(mark)
    (packages / "first.pth").write_text(mark)
    sandbox = await backend.create(Spec("one", directory / "ws", Limits()))
    code = "import numpy, tornado\n!python -c 'import numpy; print(1)'\nprint(2)"
    assert printed(await run(sandbox, code)) == "1\n2\n"
    assert [path.name for path in (directory / "ws").iterdir()] == [".local"]


async def test_t27_where_no_index_can_be_used_pip_says_so_at_once(backend: Bubblewrap, directory: Path) -> None:
    egress = Egress(Rules(entries("good.test")), Names({}), contents(Indexes(None), b""))
    try:
        door = await egress.open("one", directory / "egress" / "one" / "proxy.sock")
        sandbox = await backend.create(Spec("one", directory / "ws", Limits(), Profile.NET, egress=door.path))
        async with connect(sandbox) as client:
            await client.run("1")
            began = time.monotonic()
            result = await client.run("%pip install tinyone")
            assert "none of the package indexes" in result.stdout and time.monotonic() - began < 2
    finally:
        await egress.close()


@pytest.mark.parametrize(
    "command",
    [
        *(
            "%pip install tinyone",
            "!pip install tinyone",
            "!pip3 install -q --no-cache-dir tinyone",
            "%pip download tinyone",
        ),
        *(
            "!python -m pip install tinyone",
            "!python3 -m pip install 'tinyone>=1'",
            "import sys\n!{sys.executable} -m pip install x",
        ),
        "import subprocess as s, sys\nr = s.run([sys.executable, '-m', 'pip', 'wheel', 'x'], stderr=-1)\nprint(r.stderr)",
    ],
)
async def test_t27_without_a_grant_pip_fails_at_once_and_says_why(sandbox: Running, command: str) -> None:
    async with connect(sandbox) as client:
        await client.run("1")
        began = time.monotonic()
        result = await client.run(command)
        took = time.monotonic() - began
        assert "This sandbox has no network, so packages cannot be installed." in result.stdout + result.stderr
        assert took < 2


async def test_t27_without_a_grant_other_ways_fail_as_fast(sandbox: Running) -> None:
    """`uv` is not there, and pip finds no index when it is kept from reading its surroundings."""
    async with connect(sandbox) as client:
        await client.run("1")
        began = time.monotonic()
        result = await client.run("!uv pip install x; python -I -m pip install x\nprint('on')")
        assert "not found" in result.stdout and "ERROR" in result.stdout and printed(result).endswith("on\n")
        assert time.monotonic() - began < 4


async def test_t27_pip_in_a_program_of_ones_own_is_not_mistaken_for_pip(sandbox: Running) -> None:
    code = "open('pipeline.py', 'w').write('print(1)')\n!python pipeline.py install"
    assert printed(await run(sandbox, code)) == "1\n"
