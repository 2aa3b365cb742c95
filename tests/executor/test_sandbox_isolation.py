"""What a cell can see and do: nothing of the host, nothing of another sandbox. The T-numbers are those of the security
checklist the executor was built against."""

import ast
import asyncio
import hashlib
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import aiohttp
import pytest

from executor.sandbox import workspace
from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.docker.container import Container
from tests.executor import seen
from tests.executor.kernel_client import SUBPROTOCOL, connect, run
from tests.support.system_calls import FOREIGN, KILLED, PROBE, expected

pytestmark = pytest.mark.sandbox


async def status_of(sandbox: seen.Any, path: str, headers: dict, method: str = "GET") -> int:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(sandbox.dial_path())) as http:
        async with http.request(method, f"http://sandbox{path}", headers=headers) as response:
            return response.status


async def test_t1_nothing_is_answered_without_the_token(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        kernel = f"/api/kernels/{client.kernel_id}"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="}
    good = {"Authorization": f"token {sandbox.token}"}
    for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": sandbox.token}):
        assert await status_of(sandbox, "/api/kernels", headers) == 401
        assert await status_of(sandbox, kernel, headers) == 401
        assert await status_of(sandbox, f"{kernel}/restart", headers, "POST") == 401
        assert await status_of(sandbox, f"{kernel}/channels", {**upgrade, **headers}) == 401
    assert await status_of(sandbox, f"/api/kernels?token={sandbox.token}", {}) == 401
    assert await status_of(sandbox, "/api/kernels", good) == 200
    assert await status_of(sandbox, "/api/kernels", good, "POST") == 405
    assert await status_of(sandbox, kernel, good, "DELETE") == 405
    for path in ("/", "/api", "/api/contents", "/api/terminals", "/api/sessions", "/static/x"):
        assert await status_of(sandbox, path, good) == 404


async def test_t1_the_sandbox_listens_on_its_own_loopback_at_most(sandbox: seen.Any) -> None:
    """ipykernel collects what forked children print through a port; nobody else is in this network namespace."""
    local = "print({line.split()[1][:8] for f in ('tcp', 'tcp6', 'udp') for line in list(open(f'/proc/net/{f}'))[1:]})"
    assert eval((await run(sandbox, local)).stdout) <= {"0100007F"}


async def test_t4_dangerous_system_calls_fail(sandbox: seen.Any) -> None:
    found = ast.literal_eval((await run(sandbox, PROBE)).stdout)
    assert found == {name: expected(name) for name in found}


async def test_t4_another_abi_kills_the_caller(sandbox: seen.Any) -> None:
    assert (await run(sandbox, FOREIGN)).stdout.strip() == KILLED


async def test_t6_symlinks_in_a_workspace_lead_no_mount_out(backend: seen.AnyBackend, tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir(mode=0o755)
    for name in ("usr", "etc", "proc", "dev", "tmp", "run", "opt", "workspace", "work", "root", ".ipython"):
        (tree / name).symlink_to(outside)
    sandbox = await backend.create(Spec("planted", tree, Limits()))
    assert (
        await run(sandbox, "import os; print(os.path.islink('/workspace/etc'), os.path.islink('/etc'))")
    ).stdout == "True False\n"
    assert list(outside.iterdir()) == []


async def test_t7_taking_over_a_workspace_follows_nothing(tmp_path: Path) -> None:
    tree, secret = tmp_path / "tree", tmp_path / "secret"
    secret.write_text("host")
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").write_text("x" * 5000)
    (tree / "link").symlink_to(secret)
    (tree / "up").symlink_to("..")
    os.mkfifo(tree / "pipe")
    os.link(tree / "inner" / "file", tree / "again")
    directory = workspace.open_workspace(tree)
    size = workspace.measure(directory)
    assert 5000 <= size.used < 40_000 and size.entries == 6
    if os.geteuid() == 0:
        workspace.give(directory, 210_001)
        assert (tree / "inner" / "file").stat().st_uid == 210_001
        assert (tree / "link").lstat().st_uid == 210_001
        assert secret.stat().st_uid == 0 and tmp_path.stat().st_uid == 0
    os.close(directory)


async def test_t7_a_workspace_that_is_a_link_is_refused(backend: seen.AnyBackend, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(SandboxUnavailable, match="cannot be opened"):
        await backend.create(Spec("linked", tmp_path / "link", Limits()))


def listening() -> set[int]:
    """TCP ports that somebody on this machine listens at: databases, services, whatever there is."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[3] == "0A"}


async def test_t8_no_address_of_the_host_answers(sandbox: seen.Any) -> None:
    """Every port that is open here, at every address that this machine has."""
    with socket.create_server(("127.0.0.1", 0)):
        ports = sorted(listening())[:40]
        answered = await asyncio.to_thread(addresses)
        code = f"""
import socket
for host in {answered}:
    for port in {ports}:
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        s.settimeout(0.2)
        try: s.connect((host, port)); print("reached", host, port)
        except OSError: pass
"""
        assert ports and "127.0.0.1" in answered
        assert (await run(sandbox, code)).stdout == ""


def addresses() -> list[str]:
    """This machine's own, of both kinds, link-local ones and what a bridge of containers would have included."""
    told = subprocess.run(["ip", "-json", "addr"], capture_output=True, text=True, check=False)
    found = [info["local"] for link in json.loads(told.stdout or "[]") for info in link.get("addr_info", ())]
    return sorted({"127.0.0.1", "::1", "172.17.0.1", "fe80::1", *found})


async def test_t9_there_is_no_network(sandbox: seen.Any) -> None:
    code = """
import socket
for host in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "8.8.8.8", "::1", "fd00:ec2::254"):
    for port in (22, 53, 80, 5432, 6379):
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        s.settimeout(1)
        try: s.connect((host, port)); print("reached", host, port)
        except OSError: pass
try: socket.getaddrinfo("example.org", 80); print("resolved")
except OSError: pass
print(sorted(name for _, name in socket.if_nameindex()))
"""
    assert (await run(sandbox, code)).stdout == "['lo']\n"


async def test_t9_a_socket_of_the_host_without_a_name_is_out_of_reach(sandbox: seen.Any) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0codeact-abstract-probe")
        server.listen()
        code = "import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + 'codeact-abstract-probe')"
        assert "Connection refused" in (await run(sandbox, code)).error


async def test_t12_nothing_of_a_sandbox_is_left_for_the_next(backend: seen.AnyBackend, tmp_path: Path) -> None:
    first = await backend.create(Spec("same", tmp_path / "one", Limits()))
    places = "places = ('/tmp', '/dev/shm', '/run', '/workspace')\n"
    mark = "for p in places: open(p + '/marker', 'w').write('x')\nmarker = 1"
    assert (await run(first, places + mark)).error == ""
    await first.kill()
    second = await backend.create(Spec("same", tmp_path / "two", Limits(), generation=2))
    look = "import os; print([p for p in places if os.path.exists(p + '/marker')], 'marker' in globals())"
    assert (await run(second, places + look)).stdout == "[] False\n"
    assert first.token != second.token


async def test_t20_t35_the_token_is_nowhere_to_be_found(sandbox: seen.Any) -> None:
    """A sandbox's own processes, its files, and what the host's process list shows to everybody."""
    look = """
import glob, hashlib, os, re
for pattern in ("/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline", "/run/**/*", "/tmp/**/*", "/etc/*", "/workspace/**/*"):
    for path in glob.glob(pattern, recursive=True):
        try: text = open(path, "rb").read()
        except OSError: continue
        if any(hashlib.sha256(word).hexdigest() == TOKEN for word in re.findall(rb"[\\w-]{43}", text)): print(path)
"""
    digest = hashlib.sha256(sandbox.token.encode()).hexdigest()
    assert (await run(sandbox, f"TOKEN = {digest!r}\n{look}")).stdout == ""
    gateway = """
import os
for name in ("environ", "mem", "fd", "maps", "root", "cwd"):
    try:
        path = f"/proc/{os.getppid()}/{name}"
        os.listdir(path) if name == "fd" else os.readlink(path) if name in ("root", "cwd") else open(path, "rb").read(1)
        print("readable", name)
    except OSError as error:
        pass
"""
    assert (await run(sandbox, gateway)).stdout == ""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                assert sandbox.token.encode() not in (process / name).read_bytes()
            except OSError:
                continue
    assert all(sandbox.token not in path.read_text() for path in sandbox.directory.rglob("*") if path.is_file())


async def test_t20_the_environment_holds_nothing_of_the_host(
    backend: seen.AnyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "hunter2")
    sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    output = (await run(sandbox, "import os; print(dict(os.environ))")).stdout
    assert "HOST_SECRET" not in output and "hunter2" not in output
    everywhere = """
import glob, os
texts = [open(path, "rb").read() for path in glob.glob("/proc/[0-9]*/environ") if os.access(path, os.R_OK)]
print(any(b"hunter2" in text for text in texts))
"""
    assert (await run(sandbox, everywhere)).stdout == "False\n"


HOSTS_OWN = {
    "bubblewrap": ["/boot", "/home", "/var", "/sys", "/etc/hostname", "/usr/local", "/usr/src"],
    "docker": ["/var/lib/docker", "/var/lib/apt", "/var/log", "/usr/bin/docker"],  # it has a root of its own
}


async def test_t20_no_file_of_the_host_is_there(backend: seen.AnyBackend, sandbox: seen.Any) -> None:
    nowhere = ["/mnt", "/srv", "/root/.ssh", "/etc/shadow", "/etc/ssh", "/run/secrets", "/var/run/docker.sock"]
    look = (
        f"import os\nprint([p for p in {nowhere + HOSTS_OWN[backend.name]} if os.path.exists(p)])\nprint(os.listdir('/'))"
    )
    found, root = (await run(sandbox, look)).stdout.splitlines()
    assert {"bin", "dev", "etc", "lib", "opt", "proc", "run", "tmp", "usr", "workspace"} <= set(eval(root))
    assert found == "[]"


async def test_t20_nothing_of_the_host_is_mounted(sandbox: seen.Any, tmp_path: Path) -> None:
    """The root of its own, what belongs to the kernel, small tmpfs, and the workspace; whatever else is seen of the host's
    file systems cannot be written."""
    look = """
for line in open("/proc/self/mountinfo"):
    before, _, after = line.partition(" - ")
    root, where, options = before.split()[3:6]
    kind = after.split()[0]
    if kind not in ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs"):
        print(where, options.split(",")[0])
"""
    mounts = dict(line.split() for line in (await run(sandbox, look)).stdout.splitlines())
    assert {where for where, mode in mounts.items() if mode == "rw"} <= {"/workspace", "/run/gw"} | DEVICES


DEVICES = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}


async def test_t20_no_descriptor_of_the_host_is_open(sandbox: seen.Any) -> None:
    """A directory left open in any process in there would be a way out."""
    code = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try: fds = os.listdir(f"/proc/{pid}/fd")
    except OSError: continue
    for fd in fds:
        try: target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError: continue
        own = ("pipe:", "socket:", "anon_inode:", "/dev/null", "/proc/", "/memfd:stderr")
        if not target.startswith(own): print(pid, fd, target)
"""
    assert (await run(sandbox, code)).stdout == ""


async def test_the_root_is_read_only_and_the_user_powerless(sandbox: seen.Any) -> None:
    code = """
import os
for path in ("/x", "/usr/x", "/etc/x", "/opt/sandbox/x", "/dev/x", "/proc/sys/kernel/hostname", os.__file__):
    try: open(path, "a").write("x"); print("wrote", path)
    except OSError: pass
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(os.getuid(), os.getgid(), os.getgroups(), status["CapBnd"], status["CapEff"], status["NoNewPrivs"], status["Seccomp"])
"""
    uid, groups = (sandbox.uid, [sandbox.uid]) if isinstance(sandbox, Container) else (10001, [])
    assert (await run(sandbox, code)).stdout == f"{uid} {uid} {groups} {'0' * 16} {'0' * 16} 1 2\n"


async def test_t28_a_token_opens_its_own_sandbox_only(backend: seen.AnyBackend, tmp_path: Path) -> None:
    one = await backend.create(Spec("one", tmp_path / "one", Limits()))
    two = await backend.create(Spec("two", tmp_path / "two", Limits()))
    assert await status_of(two, "/api/kernels", {"Authorization": f"token {one.token}"}) == 401


async def test_t29_dialing_follows_nothing_put_in_the_sockets_place(sandbox: seen.Any, tmp_path: Path) -> None:
    name = sandbox.gateway / "gateway.sock" if isinstance(sandbox, Container) else sandbox.socket
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(tmp_path / "trap"))
        trap.listen()
        name.unlink()
        name.symlink_to(tmp_path / "trap")
        assert (await run(sandbox, "print('still me')")).stdout == "still me\n"
    assert stat.S_ISSOCK(Path(sandbox.dial_path()).stat().st_mode)
    await sandbox.kill()
    with pytest.raises(SandboxUnavailable):
        sandbox.dial_path()


async def test_t29_the_socket_has_no_name_inside(sandbox: seen.Any) -> None:
    code = """
import os, stat
paths = [f"{directory}/{name}" for directory, _, names in os.walk("/run") for name in names]
print([path for path in paths if stat.S_ISSOCK(os.stat(path).st_mode) and "/run/kernel/" not in path])
"""
    assert (await run(sandbox, code)).stdout == "[]\n"


async def test_t31_two_sandboxes_share_nothing(backend: seen.AnyBackend, tmp_path: Path) -> None:
    one, two = await asyncio.gather(
        backend.create(Spec("one", tmp_path / "one", Limits())), backend.create(Spec("two", tmp_path / "two", Limits()))
    )
    names = ["pid", "net", "ipc", "mnt", "uts", *(["user"] if backend.name == "bubblewrap" else [])]
    look = f"import os; print([os.readlink(f'/proc/self/ns/{{name}}') for name in {names}])"
    mine = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in names]
    spaces = [eval((await run(sandbox, look)).stdout) for sandbox in (one, two)] + [mine]
    assert all(len(set(column)) == 3 for column in zip(*spaces, strict=True))
    if os.geteuid() == 0:
        assert seen.user(one) != seen.user(two) and seen.user(one) and seen.user(two)
    await run(one, "import subprocess; subprocess.Popen(['sleep', '321'])")
    lines = "import glob; print(any(b'321' in open(path, 'rb').read() for path in glob.glob('/proc/[0-9]*/cmdline')))"
    assert (await run(two, lines)).stdout == "False\n"
    [sleeper] = seen.named(one, "sleep 321")
    assert "ProcessLookupError" in (await run(two, f"import os; os.kill({sleeper}, 0)")).error


async def test_only_the_binary_protocol_is_spoken(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        url = f"http://sandbox/api/kernels/{client.kernel_id}/channels"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.http.ws_connect(url)
        ws = await client.http.ws_connect(url, protocols=[SUBPROTOCOL])
        assert ws.protocol == SUBPROTOCOL
        await ws.close()
