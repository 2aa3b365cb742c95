"""What each service is, has and reaches, asked of the engine and tried from inside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest

from orchestrator.security import FRAME_POLICY, PAGE_POLICY
from tests.support.docker import docker
from tests.support.people import PASSWORD
from tests.support.stack import Stack, inspected
from tests.support.stack_scene import Guest

pytestmark = pytest.mark.timeout(900)

SERVICES = ("frontend", "backend", "executor", "postgres", "redis", "model")
ONCE = ("secrets", "sandbox-image")
CAPABILITIES = {"executor": {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"}}
REACHES = {
    "frontend": {"backend"},
    "backend": {"frontend", "executor", "postgres", "redis", "model"},
    "executor": {"backend"},
    "model": {"backend"},
    "postgres": {"backend", "redis"},
    "redis": {"backend", "postgres"},
}
"""Networks have no direction: who is reached can reach back. What matters are the pairs that are not here."""
PORTS = {"frontend": 8080, "backend": 8000, "executor": 8100, "postgres": 5432, "redis": 6379, "model": 8000}
SECRETS = {
    "frontend": set[str](),
    "backend": {
        "codeact_store_url",
        "codeact_bus_url",
        "codeact_executor_token",
        "codeact_model_api_key",
        "codeact_model_name",
    },
    "executor": {"executor_token"},
    "postgres": {"postgres_password"},
    "redis": {"redis_password"},
    "model": {"model_api_key"},
}
TRY = """
import socket, sys
for name, port in {pairs}:
    try:
        socket.create_connection((name, port), 2).close()
        print(name)
    except OSError:
        pass
"""
SIGN_IN = """
import urllib.request
headers = {headers!r} | {{"Content-Type": "application/json", "Host": "localhost"}}
asked = urllib.request.Request("http://frontend:8080/api/auth/login", data={body!r}.encode(), headers=headers)
print(urllib.request.urlopen(asked).status)
"""
BASH_TRY = (
    'for pair in {pairs}; do (timeout 2 bash -c "exec 3<>/dev/tcp/$pair") 2>/dev/null && echo "${{pair%%/*}}"; done; true'
)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(stack: Stack, service: str) -> None:
    found = stack.inspect(service)
    host = found["HostConfig"]
    assert {f"CAP_{name.removeprefix('CAP_')}" for name in host["CapAdd"] or []} == CAPABILITIES.get(service, set())
    assert host["CapDrop"] == ["ALL"] or service == "model"  # the last is the test's own
    assert service == "model" or host["ReadonlyRootfs"]
    assert service == "model" or "no-new-privileges:true" in host["SecurityOpt"]
    assert not host["Privileged"] and host["NetworkMode"] not in ("host", "bridge") and host["PidMode"] == ""
    is_root = found["Config"]["User"] in ("", "0", "root", "0:0")
    assert is_root == (service == "executor"), found["Config"]["User"]


@pytest.mark.parametrize("service", SERVICES)
def test_the_rights_are_those_that_its_processes_have(stack: Stack, service: str) -> None:
    pid = stack.inspect(service)["State"]["Pid"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    if service != "model":
        assert status["NoNewPrivs"] == "1"
        allowed = 0 if service != "executor" else 1 << 0 | 1 << 1 | 1 << 3  # CHOWN, DAC_OVERRIDE, FOWNER
        assert int(status["CapBnd"], 16) == allowed, status["CapBnd"]
    assert (status["Uid"].split()[0] == "0") == (service == "executor")


def test_only_the_frontend_has_a_port_and_only_on_loopback(stack: Stack) -> None:
    published = {}
    for service in (*SERVICES, *ONCE):
        ports = stack.inspect(service)["NetworkSettings"]["Ports"] or {}
        bound = {port: hosts for port, hosts in ports.items() if hosts}
        if bound:
            published[service] = bound
    assert published == {"frontend": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}}


def test_the_engines_socket_is_the_executors_alone(stack: Stack) -> None:
    holders = {
        service for service in (*SERVICES, *ONCE)
        if any("docker.sock" in mount["Source"] + mount["Destination"] for mount in stack.inspect(service)["Mounts"])
    }  # fmt: skip
    assert holders == {"executor"}
    assert stack.inside("backend", "ls", "/var/run/docker.sock").returncode != 0


def test_nobody_writes_to_the_machine_but_the_executor_to_its_directory(stack: Stack) -> None:
    binds = {
        (service, mount["Source"])
        for service in (*SERVICES, *ONCE)
        for mount in stack.inspect(service)["Mounts"]
        if mount["Type"] == "bind" and mount["RW"]
    }
    assert binds == {("executor", str(stack.data)), ("executor", "/var/run/docker.sock")}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reaches_those_it_needs_and_nobody_else(stack: Stack, service: str) -> None:
    others = [name for name in SERVICES if name != service]
    addresses = {ip: name for name in others for ip in addresses_of(stack, name)}
    names = {("model-server" if name == "model" else name): name for name in others}
    targets = [(target, PORTS[name]) for target, name in {**addresses, **names}.items()]
    tried = stack.inside(service, *attempt(service, targets))
    assert tried.returncode == 0, tried.stderr
    reached = {({**addresses, **names})[line] for line in tried.stdout.split()}
    assert reached == REACHES[service]


def attempt(service: str, targets: Iterable[tuple[str, int]]) -> list[str]:
    if service in ("backend", "executor", "model"):
        return ["python", "-c", TRY.format(pairs=list(targets))]
    return ["bash", "-c", BASH_TRY.format(pairs=" ".join(f"{name}/{port}" for name, port in targets))]


def addresses_of(stack: Stack, service: str) -> list[str]:
    networks = stack.inspect(service)["NetworkSettings"]["Networks"]
    return [network["IPAddress"] for network in networks.values() if network["IPAddress"]]


async def test_a_sandbox_reaches_nothing(stack: Stack, guest: Guest) -> None:
    targets = [(ip, PORTS[name]) for name in SERVICES for ip in addresses_of(stack, name)]
    targets += [("172.17.0.1", stack.port), ("169.254.169.254", 80), ("backend", 8000)]
    tab = await guest.tab()
    view = await tab.ask(f"run {TRY.format(pairs=targets)}\nprint('tried')")
    assert view.turns[-1].items[0].outputs[0].text == "tried\n"
    for container in stack.sandboxes():
        found = inspected(container)
        assert found["HostConfig"]["NetworkMode"] == "none" and not found["NetworkSettings"]["Ports"]


def test_every_service_has_its_own_secrets_and_no_other(stack: Stack) -> None:
    found = {name: set(stack.inside(name, "ls", "/run/secrets").stdout.split()) for name in SERVICES}
    assert found == SECRETS


def test_no_secret_is_in_an_image_an_environment_an_argument_or_a_log(stack: Stack) -> None:
    secrets = all_secrets(stack)
    assert len(secrets) >= 4 and all(len(secret) >= 32 for secret in secrets)
    images = {stack.inspect(service)["Image"] for service in (*SERVICES, *ONCE)}
    told = [docker("image", "inspect", image).stdout + docker("history", "--no-trunc", image).stdout for image in images]
    for service in (*SERVICES, *ONCE):
        container = stack.container(service)
        log = docker("logs", container)
        told += [
            json.dumps(inspected(container)),
            log.stdout,
            log.stderr,
            docker("top", container, "-eo", "pid,args").stdout,
        ]
    assert not [secret for secret in secrets if any(secret in text for text in told)]


def all_secrets(stack: Stack) -> set[str]:
    files = {
        "postgres": "postgres_password",
        "redis": "redis_password",
        "executor": "executor_token",
        "model": "model_api_key",
    }
    return {stack.inside(service, "cat", f"/run/secrets/{name}").stdout.strip() for service, name in files.items()}


async def test_what_nginx_says_of_files_is_what_the_backend_says_of_its_answers(stack: Stack) -> None:
    async with aiohttp.ClientSession() as http:
        for path, policy in (
            ("/", PAGE_POLICY),
            ("/index.html", PAGE_POLICY),
            ("/frame.html", FRAME_POLICY),
            ("/no.png", PAGE_POLICY),
        ):
            async with http.get(stack.url + path) as answer:
                assert answer.headers.getall("Content-Security-Policy") == [policy], path
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
        async with http.get(f"{stack.url}/api/auth/state") as answer:
            assert answer.headers.getall("Content-Security-Policy") == [PAGE_POLICY]
        async with http.get(f"{stack.url}/metrics") as answer:
            assert answer.status == 404
        # A proxy on this machine has ended TLS.
        async with http.get(stack.url, headers={"X-Forwarded-Proto": "https"}) as answer:
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        async with http.get(stack.url) as answer:
            assert "Strict-Transport-Security" not in answer.headers


async def test_only_this_machine_may_say_whom_it_speaks_for(stack: Stack, guest: Guest) -> None:
    """A proxy here, which ends TLS, tells the client's address; anybody else who says one is not believed."""
    said = {"X-Forwarded-For": "203.0.113.9"}
    signing_in = {"email": guest.email, "password": PASSWORD}
    await guest.ok("POST", "/api/auth/login", signing_in, headers=said)
    asked = json.dumps(signing_in)
    other = stack.inside("backend", "python", "-c", SIGN_IN.format(body=asked, headers=said))
    assert other.stdout.strip() == "200", other.stderr
    addresses = [session["address"] for session in (await guest.ok("GET", "/api/auth/sessions"))["sessions"]]
    assert addresses.count("203.0.113.9") == 1 and len(addresses) == 2, addresses
    assert any(address in addresses_of(stack, "backend") for address in addresses)


async def test_what_is_too_large_is_refused_with_words(stack: Stack, guest: Guest) -> None:
    headers = {"Content-Length": str(65 * 1024**2), "Content-Type": "application/json"}
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    lines = [f"{name}: {value}\r\n" for name, value in {"Host": f"127.0.0.1:{stack.port}", **headers}.items()]
    writer.write(("POST /v1/chat/completions HTTP/1.1\r\n" + "".join(lines) + "\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 413 " in head.splitlines()[0] and b"application/json" in head
    assert b"64 MB" in await reader.read(500)
    writer.close()


async def test_large_answers_are_compressed(stack: Stack) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        async with http.get(stack.url, headers={"Accept-Encoding": "gzip"}) as page:
            script = (await page.text()).partition('src="/assets/')[2].partition('"')[0]
        async with http.get(f"{stack.url}/assets/{script}", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip" and "immutable" in answer.headers["Cache-Control"]
