"""What the Docker engine makes of a create body, as it says itself and as the sandbox sees it."""

import json
import os
from pathlib import Path

import pytest

from executor.sandbox.base import Limits, Spec
from executor.sandbox.docker import leftover
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.body import create_body
from executor.sandbox.docker.engine import permitted
from executor.sandbox.docker.ground import Options
from executor.sandbox.docker.making import placed
from executor.sandbox.docker.paths import Paths
from executor.sandbox.gateway import answered
from tests.executor.kernel_client import run
from tests.support.engine_proxy import proxied

pytestmark = pytest.mark.sandbox
MIB = 1024**2


DEFAULTS = {
    "MaskedPaths": "/proc/kcore",
    "ReadonlyPaths": "/proc/sys",
}  # lists that the engine fills in by itself, and a member each must have


def same(asked: object, made: object) -> bool:
    """The engine says null for what is empty, and adds what is zero."""
    if isinstance(asked, dict) and isinstance(made, dict):
        return without_empty(asked) == without_empty(made)
    return asked == made or (not asked and not made)


def without_empty(values: dict) -> dict:
    return {key: value for key, value in values.items() if value}


async def test_t33_the_engine_made_what_the_policy_says_and_nothing_more(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    plant = await docker.prepared()
    made = await plant.engine.inspect(sandbox.container)
    body = create_body(sandbox.spec, plant.kit, placed(plant, sandbox, 0))
    policy, host = body["HostConfig"], made["HostConfig"]
    differing = {key: (value, host.get(key)) for key, value in policy.items() if not same(value, host.get(key))}
    differing.pop("Mounts", None)
    for asked, found in zip(policy["Mounts"], host["Mounts"], strict=True):
        assert without_empty(asked) == without_empty(found)
    assert differing == {}
    extra = {key: value for key, value in host.items() if key not in policy and value and value not in ([0, 0], "default")}
    for key, member in DEFAULTS.items():
        assert member in extra.pop(key)
    assert extra == {}
    config = made["Config"]
    assert config["User"] == f"{sandbox.uid}:{sandbox.uid}" and config["Entrypoint"] == body["Entrypoint"]
    assert not config["Cmd"] and not config.get("Volumes") and not config.get("ExposedPorts") and not config["OpenStdin"]
    assert {where["Destination"] for where in made["Mounts"]} == {"/run/gw", "/workspace"}
    assert list(made["NetworkSettings"]["Networks"]) in ([], ["none"]) and not made["NetworkSettings"]["IPAddress"]
    assert made["Image"] == plant.kit.image
    assert sandbox.token not in json.dumps(made)


async def test_t3_a_whole_life_asks_for_nothing_else(sandbox_image: str, tmp_path: Path) -> None:
    async with proxied(tmp_path / "engine.sock") as proxy:
        backend = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
        sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
        sandbox.assign("talk", tmp_path / "ws")
        await run(sandbox, "open('x', 'w').write('x')")
        await sandbox.hold(0)
        await sandbox.hold(10 * MIB)
        sandbox.usage()
        assert (await backend.check()).ok
        await backend.close(keep=True)
        later = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
        [adopted] = await later.adopt()
        await leftover.strays(later, await later.prepared(), 0)
        await adopted.kill()
        await later.close()
    asked = [request.partition("?")[0].split(" ") for request in proxy.requests]
    assert len(asked) > 15
    assert all(permitted(method, path) for method, path in asked), asked
    assert not any(word in path for _, path in asked for word in ("archive", "exec", "attach", "build", "export", "copy"))


async def test_the_hosts_name_of_a_directory_is_what_the_engine_hears(sandbox_image: str, tmp_path: Path) -> None:
    """As when the executor itself runs in a container: what it calls /…/inside is /…/outside to the engine."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").symlink_to(tmp_path / "outside")
    paths = Paths(tmp_path / "inside", tmp_path / "outside")
    backend = Docker(tmp_path / "inside" / "run", Options(sandbox_image), paths)
    try:
        sandbox = await backend.create(Spec("one", tmp_path / "inside" / "ws", Limits()))
        await run(sandbox, "open('x', 'w').write('x')")
        assert (tmp_path / "outside" / "ws" / "x").read_text() == "x"
        made = await (await backend.prepared()).engine.inspect(sandbox.container)
        assert all(mount["Source"].startswith(str(tmp_path / "outside")) for mount in made["Mounts"])
    finally:
        await backend.close()


async def test_limits_reach_the_kernel(docker: Docker, tmp_path: Path) -> None:
    limits = Limits(memory=400 * MIB, pids=90, cpus=0.5, tmp=20 * MIB, shm=10 * MIB, open_files=500, file_size=7 * MIB)
    sandbox = await docker.create(Spec("one", tmp_path / "ws", limits))
    assert sandbox.counters is not None
    paths = sandbox.counters.paths
    if sandbox.counters.version == 1:
        assert (paths["memory"] / "memory.limit_in_bytes").read_text().strip() == str(400 * MIB)
        assert (paths["memory"] / "memory.memsw.limit_in_bytes").read_text().strip() == str(400 * MIB)
        assert (paths["pids"] / "pids.max").read_text().strip() == "90"
    look = """
import os, resource
print([os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ('/tmp', '/dev/shm')])
print([resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in ("CORE", "NOFILE", "FSIZE", "NPROC")])
"""
    assert (await run(sandbox, look)).stdout == f"[{20 * MIB}, {10 * MIB}]\n[0, 500, {7 * MIB}, 90]\n"


# ---- T28, T29, T35: the socket and the token -------------------------------------------------------------------------


async def test_t35_the_settings_are_gone_and_their_place_is_closed(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    assert sorted(path.name for path in sandbox.gateway.iterdir()) == ["gateway.sock"]
    status = sandbox.gateway.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o700)
    code = """
import os
gw = "/run/gw"
for attempt in (lambda: os.listdir(gw), lambda: os.unlink(gw + "/gateway.sock"), lambda: os.chmod(gw, 0o777),
                lambda: os.symlink("/x", gw + "/y"), lambda: os.rename(gw, "/run/other"), lambda: os.rmdir(gw)):
    try: attempt(); print("done")
    except OSError as error: print(type(error).__name__)
"""
    assert set((await run(sandbox, code)).stdout.split()) <= {"PermissionError", "OSError"}


async def test_t28_a_token_is_of_one_sandbox_and_one_generation(docker: Docker, tmp_path: Path) -> None:
    first = await docker.create(Spec("one", tmp_path / "ws", Limits(), generation=1))
    other = await docker.create(Spec("two", tmp_path / "other", Limits(), generation=1))
    old = first.token
    await first.kill()
    again = await docker.create(Spec("one", tmp_path / "ws", Limits(), generation=2))
    for token, sandbox in ((old, again), (other.token, again), (again.token, other)):
        with pytest.raises(ValueError, match="401"):
            await answered(sandbox.dial_path(), token)
    assert (await run(again, "print(1)")).stdout == (await run(other, "print(1)")).stdout == "1\n"
