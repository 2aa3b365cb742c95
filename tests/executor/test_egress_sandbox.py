"""Profile `net` seen from inside a real sandbox: what it reaches, what it does not, and what an attacker can do to the way
out. T9 of the security checklist."""

import asyncio
import copy
import logging
import shutil
import ssl
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from executor.egress.account import Caps
from executor.egress.beside import Beside, authorities
from executor.egress.door import Egress
from executor.egress.rules import Rules, entries
from executor.sandbox.base import Limits, Profile, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.running import Running
from tests.executor.egress_world import Host, Names, answering, listening
from tests.executor.kernel_client import connect, run

pytestmark = pytest.mark.sandbox

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
NAMES = {"good.test": [["127.0.0.1"]], "meta.test": [["169.254.169.254"]], "inner.example": [["127.0.0.1"]]}
NAMES["flips.test"] = [["127.0.0.1"], ["169.254.169.254"]]

SPEAK = """
import socket
def speak(text, wait=20.0):
    with socket.create_connection(("127.0.0.1", 3128), 5) as s:
        s.settimeout(wait)
        try: s.sendall(text if isinstance(text, bytes) else text.encode())
        except OSError: pass
        got = b""
        try:
            while data := s.recv(65536): got += data
        except OSError: pass
        return got.partition(b"\\r\\n")[0].decode()
def status(text): return speak(text)[9:12]
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's name has 107 bytes at most."""
    made = Path(tempfile.mkdtemp(prefix="egress-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def upstream() -> AsyncIterator[Host]:
    async with listening(answering(OK)) as made:
        yield made


@pytest.fixture
async def egress(upstream: Host) -> AsyncIterator[Egress]:
    listed = f"good.test:{upstream.port},flips.test:{upstream.port},meta.test:80,meta.test,inner.example:{upstream.port}"
    rules = Rules(entries(listed), entries("good.test,flips.test,meta.test"))
    made = Egress(rules, Names(copy.deepcopy(NAMES)), Beside({"pip.conf": b"[global]\n"}), Caps(head_s=3.0, connections=16))
    yield made
    await made.close()


@pytest.fixture
async def sandbox(backend: Bubblewrap, egress: Egress, directory: Path) -> AsyncIterator[Running]:
    door = await egress.open("one", directory / "egress" / "one" / "proxy.sock")
    door.of.conversation = "talk"
    made = await backend.create(Spec("one", directory / "ws", Limits(), Profile.NET, egress=door.path))
    yield made
    await made.kill()
    await door.close()


async def test_t9_a_listed_host_is_reached_and_every_request_is_logged(
    sandbox: Running, upstream: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    code = f"""
import requests, urllib.request
print(requests.get("http://good.test:{upstream.port}/secret-path?q=1", headers={{"X-A": "b"}}, timeout=20).text)
print(urllib.request.urlopen("http://good.test:{upstream.port}/").read().decode())
try: requests.get("https://example.com/", timeout=20)
except requests.exceptions.ProxyError as error: print("example.com is not among them" in str(error))
"""
    result = await run(sandbox, code)
    assert (result.stdout, result.error) == ("hello\nhello\nTrue\n", "")
    lines = [vars(record) for record in caplog.records if record.name == "executor.egress"]
    told = [(line["conversation"], line["sandbox"], line["host"], line["port"], line["verdict"]) for line in lines]
    good = ("talk", "one", "good.test", upstream.port, "allowed")
    assert told == [good, good, ("talk", "one", "example.com", 443, "refused")]
    assert "secret-path" not in str(lines) and all(line["address"] == "127.0.0.1" for line in lines[:2])


async def test_t9_with_a_grant_there_is_still_no_network(sandbox: Running, upstream: Host) -> None:
    """No interface but lo, no DNS over UDP or TCP, and the host's loopback is another one."""
    code = f"""
import socket, struct
query = b"\\x12\\x34\\x01\\x00\\x00\\x01" + b"\\0" * 6 + b"\\x07example\\x03org\\x00\\x00\\x01\\x00\\x01"
for server in ("8.8.8.8", "1.1.1.1", "127.0.0.53", "127.0.0.1", "169.254.169.253", "fd00:ec2::253"):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family, kind) as s:
            s.settimeout(1)
            try:
                s.connect((server, 53))
                s.send(query if kind == socket.SOCK_DGRAM else struct.pack(">H", len(query)) + query)
                print("answered", server, kind, s.recv(512))
            except OSError: pass
for host in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "8.8.8.8", "::1", "fd00:ec2::254"):
    for port in (22, 53, 80, 443, 5432, 6379, 8000, 8100, {upstream.port}):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
            s.settimeout(1)
            try: s.connect((host, port)); print("reached", host, port)
            except OSError: pass
try: print("resolved", socket.getaddrinfo("good.test", 80))
except OSError: pass
print(sorted(name for _, name in socket.if_nameindex()))
lines = [line.split() for f in ("tcp", "tcp6") for line in list(open(f"/proc/net/{{f}}"))[1:]]
print({{fields[1][:8] for fields in lines if fields[3] == "0A"}}, "0100007F:0C38" in {{fields[1] for fields in lines}})
"""
    assert (await run(sandbox, code)).stdout == "['lo']\n{'0100007F'} True\n"


METADATA = """
spellings = '''169.254.169.254 [fd00:ec2::254] 100.100.100.200 2852039166 0xa9fea9fe 0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376
169.254.43518 169.16689662 025177524776 [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::a9fe:a9fe] [64:ff9b::a9fe:a9fe]
[2002:a9fe:a9fe::] [fe80::1%25lo] [fe80::1%lo] 169.254.169.254. 0169.254.169.254 127.0.0.1 127.1 0 [::1] [::] 10.0.0.1
2130706433 0x7f000001 0177.1 localhost metadata metadata.google.internal instance-data meta.test META.TEST. inner.example
host.docker.internal 1.1.1.1 8.8.8.8 dns.google cloudflare-dns.com'''.split()
for host in spellings:
    for port in (443, 80, PORT):
        for text in (f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", f"GET http://{host}:{port}/latest/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"):
            if status(text) != "403": print(host, port, speak(text))
    if status(f"GET http://{host}/dns-query?name=x HTTP/1.1\\r\\nHost: good.test\\r\\n\\r\\n") != "403": print(host)
print("all refused")
"""  # noqa: E501


async def test_t9_metadata_and_private_addresses_are_refused_in_every_spelling(sandbox: Running, upstream: Host) -> None:
    code = SPEAK + METADATA.replace("PORT", str(upstream.port))
    assert (await run(sandbox, code)).stdout == "all refused\n"
    assert upstream.heard == []


async def test_t9_a_name_that_changes_what_it_leads_to_is_refused(sandbox: Running, upstream: Host) -> None:
    code = (
        SPEAK
        + f"""
for _ in range(3): print(speak("GET http://flips.test:{upstream.port}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"))
"""
    )
    first, *others = (await run(sandbox, code)).stdout.splitlines()
    assert first.endswith("200 OK") and len(upstream.heard) == 1
    assert all("403 flips.test leads to an address that no sandbox may reach" in line for line in others)


async def test_t9_other_ports_of_a_listed_host_are_refused(sandbox: Running, upstream: Host) -> None:
    code = (
        SPEAK
        + f"""
for port in (1, 22, 25, 53, 80, 443, 3128, 5432, 6379, {upstream.port + 1}, 65535):
    line = speak(f"CONNECT good.test:{{port}} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    if " 403 " not in line or f"port {{port}}" not in line: print(port, line)
for port in (0, 65536, -1, 99999999999): print(status(f"CONNECT good.test:{{port}} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"))
"""
    )
    assert (await run(sandbox, code)).stdout == "403\n403\n403\n403\n"
    assert upstream.heard == []


ABUSE = """
import threading, time
good = "http://good.test:PORT"
inner = f"GET {good}/smuggled HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
print("smuggling", [status(text) for text in (
    f"POST {good}/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0"
    f"\\r\\n\\r\\n{inner}",
    f"POST {good}/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nContent-Length: {len(inner)}\\r\\n\\r\\n{inner}",
    f"POST {good}/ HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding : chunked\\r\\n\\r\\n0\\r\\n\\r\\n{inner}",
    f"GET {good}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n{inner}",
    f"POST {good}/ HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n{inner}")])
print("large", status(f"GET {good}/ HTTP/1.1\\r\\nHost: x\\r\\nX: " + "x" * 10**6 + "\\r\\n\\r\\n"), status("x" * 10**6))
def drip():
    with socket.create_connection(("127.0.0.1", 3128)) as s:
        began = time.monotonic()
        try:
            for byte in b"GET / HTTP/1.1\\r\\n" + b"X: y\\r\\n" * 10**6:
                s.send(bytes([byte])); time.sleep(0.05)
                if time.monotonic() - began > 60: break
        except OSError: pass
        drips.append(time.monotonic() - began)
drips = []
threads = [threading.Thread(target=drip) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("slow", all(took < 60 for took in drips), len(drips))
held = []
try:
    for _ in range(500): held.append(socket.create_connection(("127.0.0.1", 3128), 1))
except OSError: pass
for s in held:
    try: s.send(b"GET ")
    except OSError: pass
time.sleep(1)
for s in held: s.close()
print("many")
deadline = time.monotonic() + 60
while (last := speak(f"GET {good}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"))[9:12] != "200" and time.monotonic() < deadline:
    time.sleep(0.2)
print(last)
"""


async def test_t9_abuse_of_the_proxy_hurts_nobody(sandbox: Running, egress: Egress, upstream: Host) -> None:
    async with connect(sandbox) as client:
        running = asyncio.create_task(client.run(SPEAK + ABUSE.replace("PORT", str(upstream.port)), 110))
        worst, loop = 0.0, asyncio.get_running_loop()
        while not running.done():  # the executor goes on with its own work meanwhile
            began = loop.time()
            await asyncio.sleep(0.05)
            worst = max(worst, loop.time() - began)
        result = await running
    assert (result.stdout, result.error) == (
        "smuggling ['400', '400', '400', '200', '200']\nlarge 431 431\nslow True 4\nmany\nHTTP/1.1 200 OK\n",
        "",
    )
    assert not any(b"smuggled" in heard for heard in upstream.heard) and len(upstream.heard) == 3
    assert worst < 5.0
    assert egress.counters.verdicts["allowed"] == 3


async def test_t9_t29_the_way_out_cannot_be_replaced_from_inside(sandbox: Running, upstream: Host, directory: Path) -> None:
    code = (
        SPEAK
        + f"""
import os, socket
tried = dict(
    unlink=lambda: os.unlink("/run/egress/proxy.sock"), rename=lambda: os.rename("/run/egress/proxy.sock", "/tmp/x"),
    over=lambda: os.rename("/tmp/mine", "/run/egress/proxy.sock"), write=lambda: open("/run/egress/x", "w"),
    link=lambda: os.symlink("/tmp/x", "/run/egress/y"), chmod=lambda: os.chmod("/run/egress/proxy.sock", 0),
    settings=lambda: open("/run/egress/pip.conf", "a"), away=lambda: os.rename("/run/egress", "/run/elsewhere"),
    rmdir=lambda: os.rmdir("/run/egress"), bind=lambda: socket.socket(socket.AF_UNIX).bind("/run/egress/z.sock"),
    port=lambda: socket.create_server(("127.0.0.1", 3128)),
)
open("/tmp/mine", "w").close()
for name, attempt in tried.items():
    try: attempt(); print("could", name)
    except OSError: pass
print(sorted(os.listdir("/run/egress")), speak("GET http://good.test:{upstream.port}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"))
"""
    )
    assert (await run(sandbox, code)).stdout == "['pip.conf', 'proxy.sock'] HTTP/1.1 200 OK\n"
    assert sorted(file.name for file in (directory / "egress" / "one").iterdir()) == ["pip.conf", "proxy.sock"]


async def test_t9_t31_the_way_out_is_each_sandboxs_own(
    sandbox: Running, backend: Bubblewrap, directory: Path, upstream: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """What one may reach, another may not; and a sandbox without a grant has nothing there at all."""
    other = Egress(Rules(entries("else.test:1")), Names({}), Beside({}))
    try:
        door = await other.open("two", directory / "egress" / "two" / "proxy.sock")
        two = await backend.create(Spec("two", directory / "ws2", Limits(), Profile.NET, egress=door.path))
        three = await backend.create(Spec("three", directory / "ws3", Limits()))
        get = SPEAK + f"print(speak('GET http://good.test:{upstream.port}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'))"
        assert "200 OK" in (await run(sandbox, get)).stdout
        assert "403 This sandbox may reach else.test:1." in (await run(two, get)).stdout
        assert "ConnectionRefused" in (await run(three, get)).error
        names = "import os; print(os.path.exists('/run/egress'), [n for n in os.environ if 'proxy' in n.lower()])"
        assert (await run(three, names)).stdout == "False []\n"
    finally:
        await other.close()


async def test_t9_t39_a_sandbox_that_outlives_its_executor_is_served_again(
    sandbox: Running, egress: Egress, upstream: Host, directory: Path
) -> None:
    get = SPEAK + f"print(speak('GET http://good.test:{upstream.port}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'))"
    assert "200 OK" in (await run(sandbox, get)).stdout
    await egress.close(keep=True)
    assert "502 The network of this sandbox is away for a moment" in (await run(sandbox, get)).stdout
    await egress.open("one", directory / "egress" / "one" / "proxy.sock")
    assert "200 OK" in (await run(sandbox, get)).stdout


async def test_t9_t20_of_the_host_nothing_is_told_but_where_the_proxy_is(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os; print({n: v for n, v in os.environ.items() if 'proxy' in n.lower() or n.startswith('PIP_')})"
    told = eval((await run(sandbox, code)).stdout)
    assert set(told.values()) == {"http://127.0.0.1:3128", "localhost,127.0.0.1", "/run/egress/pip.conf", "1"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes this test's certificate")
async def test_t9_programs_trust_the_operators_certificate_authorities(backend: Bubblewrap, directory: Path) -> None:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {certificate} -subj /CN=tls.test"
    made = await asyncio.create_subprocess_exec(*command.split(), "-addext", "subjectAltName=DNS:tls.test", stderr=DEVNULL)
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    files = Beside({"ca.pem": authorities({"cert": str(certificate)}, {}), "pip.conf": b""})
    egress = Egress(Rules(entries(f"tls.test:{port}"), entries("tls.test")), Names({"tls.test": [["127.0.0.1"]]}), files)
    try:
        door = await egress.open("tls", directory / "egress" / "tls" / "proxy.sock")
        sandbox = await backend.create(Spec("tls", directory / "ws", Limits(), Profile.NET, egress=door.path))
        code = f"""
import requests, urllib.request
url = "https://tls.test:{port}/"
print(requests.get(url, timeout=20).text, urllib.request.urlopen(url, timeout=20).read().decode())
try: requests.get(url, timeout=20, verify=requests.certs.where())
except requests.exceptions.SSLError: print("not trusted otherwise")
"""
        result = await run(sandbox, code)
        assert (result.stdout, result.error) == ("hello hello\nnot trusted otherwise\n", "")
    finally:
        server.close()
        await egress.close()
    assert egress.counters.verdicts["allowed"] == 3
