"""What the Docker engine is asked, without an engine: the create body, the requests there are, versions against floors."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import executor.sandbox.docker as package
from executor.sandbox.base import Limits, Profile, SandboxUnavailable, Spec
from executor.sandbox.docker import facts, ground
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.body import Kit, Placed, create_body, spec_hash
from executor.sandbox.docker.engine import permitted
from executor.sandbox.docker.ground import Options
from executor.sandbox.docker.paths import Paths

GOLDEN = Path(__file__).with_name("docker_body.json")
KIT = Kit("sha256:0123", "runc", '{"defaultAction":"SCMP_ACT_ERRNO"}', None, "runner")
AT = Placed(210_001, Path("/data/run/one/gw"), Path("/data/workspaces/talk"), None, 1_000_000.5, 1_028_800.5)
SPEC = Spec("one", Path("/data/workspaces/talk"))


def test_t2_the_create_body_is_the_golden_one() -> None:
    """Any key more or less, any value that is another, is a change of policy: make it here, too, knowing why."""
    assert create_body(SPEC, KIT, AT) == json.loads(GOLDEN.read_text())


UNCHANGING = (
    *("CapDrop", "CapAdd", "Privileged", "ReadonlyRootfs", "NetworkMode", "IpcMode", "PidMode", "UTSMode", "UsernsMode"),
    *("CgroupnsMode", "Devices", "DeviceRequests", "VolumesFrom", "GroupAdd", "Sysctls", "Dns", "Binds", "PortBindings"),
)


def keys(body: object, at: str = "") -> set[str]:
    if isinstance(body, dict) and at not in ("/Labels", "/HostConfig/Tmpfs"):
        return {f"{at}/{key}" for key in body}.union(*(keys(value, f"{at}/{key}") for key, value in body.items()))
    return set().union(*(keys(value, at) for value in body)) if isinstance(body, list) else set()


ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
numbers = st.integers(1, 2**40)
limits = st.builds(
    Limits,
    numbers,
    numbers,
    st.integers(1, 10**6),
    st.floats(0.01, 64),
    numbers,
    numbers,
    numbers,
    numbers,
    st.integers(1, 2**20),
)


@given(ids, limits, st.sampled_from(Profile), st.booleans(), st.sampled_from(["runc", "runsc"]), st.booleans())
def test_t2_no_spec_reaches_another_key_or_weakens_one(
    id: str, limits: Limits, profile: Profile, egress: bool, runtime: str, apparmor: bool
) -> None:
    spec = Spec(id, Path("/data/w"), limits, profile, egress=Path("/data/e/egress.sock") if egress else None)
    kit = replace(KIT, runtime=runtime, apparmor="docker-default" if apparmor else None)
    body = create_body(spec, kit, replace(AT, egress=spec.egress))
    golden = json.loads(GOLDEN.read_text())
    assert keys(body) == keys(golden)
    host, expected = body["HostConfig"], golden["HostConfig"]
    for key in UNCHANGING:
        assert host[key] == expected[key]
    assert host["SecurityOpt"][:2] == ["no-new-privileges:true", f"seccomp={KIT.seccomp}"]
    assert host["MemorySwap"] == host["Memory"] == limits.memory and host["PidsLimit"] == limits.pids
    sources = [mount["Source"] for mount in host["Mounts"]]
    assert sources == ["/data/run/one/gw", "/data/workspaces/talk", *(["/data/e"] if egress else [])]
    assert [mount["ReadOnly"] for mount in host["Mounts"]] == [False, False, *([True] if egress else [])]
    assert all(mount["BindOptions"] == {"Propagation": "rprivate"} for mount in host["Mounts"])
    assert body["Labels"]["codeact.sandbox.id"] == id and "seccomp=unconfined" not in json.dumps(body)


@given(st.text(max_size=80))
async def test_t2_only_an_id_gets_near_the_engine(text: str) -> None:
    """Refused before anything is asked: there is no engine at this path."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        return
    with pytest.raises(ValueError, match="not a sandbox id"):
        await Docker(Path("/nonexistent"), Options("x", Path("/nonexistent/docker.sock"))).create(
            Spec(text, Path("/tmp/w"))
        )


def test_t10_what_is_hashed_is_all_that_can_differ() -> None:
    mine = spec_hash(SPEC.limits, SPEC.profile, KIT)
    assert mine == spec_hash(Limits(), Profile.STANDARD, KIT)
    others = [
        spec_hash(Limits(pids=7), Profile.STANDARD, KIT),
        spec_hash(Limits(data=7), Profile.STANDARD, KIT),
        spec_hash(Limits(workspace=7), Profile.STANDARD, KIT),
        spec_hash(Limits(), Profile.NET, KIT),
        *(spec_hash(Limits(), Profile.STANDARD, replace(KIT, **change))
          for change in ({"image": "x"}, {"runtime": "x"}, {"seccomp": "x"}, {"apparmor": "x"})),
    ]  # fmt: skip
    assert len({mine, *others}) == 1 + len(others)


# ---- T3: the requests there are --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    ["GET /containers/x/archive", "PUT /containers/x/archive", "HEAD /containers/x/archive", "POST /containers/x/exec",
     "POST /exec/x/start", "POST /containers/x/attach", "GET /containers/x/attach/ws", "GET /containers/x/export",
     "POST /containers/x/copy", "POST /build", "POST /commit", "POST /images/create", "POST /images/load",
     "DELETE /images/x", "POST /networks/create", "POST /volumes/create", "POST /containers/x/update", "GET /info/../build",
     "POST /containers/../build", "POST /containers/prune", "GET /containers/x/logs", "POST /swarm/init", "POST /auth",
     "POST /containers/x/rename", "POST /containers/x/pause", "POST /plugins/pull", "GET /v1.41/images/../exec/x/json"],
)  # fmt: skip
def test_t3_a_request_that_no_sandbox_needs_does_not_pass(request_: str) -> None:
    method, path = request_.split(" ")
    assert not permitted(method, path) and not permitted(method, f"/v1.44{path}")


@pytest.mark.parametrize(
    "request_",
    ["GET /version", "GET /info", "GET /images/codeact-sandbox:1/json", "GET /images/r.example:5000/a/b@sha256:01/json",
     "POST /containers/create", "POST /containers/x/start", "GET /containers/x/json", "POST /containers/x/kill",
     "POST /containers/x/wait", "DELETE /containers/x", "GET /containers/json", "GET /events", "GET /containers/x/stats"],
)  # fmt: skip
def test_t3_what_a_sandbox_needs_does(request_: str) -> None:
    method, path = request_.split(" ")
    assert permitted(method, path) and permitted(method, f"/v1.44{path}")


def test_t3_no_call_in_the_source_asks_for_more() -> None:
    """Whatever the gate would say: nothing in the package even names such a request."""
    forbidden = re.compile(r"archive|exec\b|attach|export|\bbuild|commit|copy|put_|websocket|pull|push|prune|logs?\(")
    for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            assert not forbidden.search(called), f"{path.name}:{getattr(node, 'lineno', 0)} calls {called}"


# ---- T5: versions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "good"),
    [("29.5.1", True), ("29.5.0", False), ("29.10.0", True), ("30.0.0-rc.1", True), ("28.5.2", False), ("v29.6.1", True),
     ("20.10.24+dfsg1", False), ("", False), ("unknown", False)],
)  # fmt: skip
def test_t5_engines(version: str, good: bool) -> None:
    assert facts.meets(version, facts.ENGINE) is good


@pytest.mark.parametrize(
    ("version", "good"),
    [("1.1.5+ds1", False), ("1.1.99", False), ("1.2.7", False), ("1.2.8", True), ("1.3.2", False), ("1.3.3", True),
     ("1.4.0", True), ("1.4.2", True), ("1.5.0", True), ("2.0.0", True), ("1.2.10", True)],
)  # fmt: skip
def test_t5_a_runc_is_judged_by_its_own_line(version: str, good: bool) -> None:
    assert facts.meets(version, facts.RUNC) is good


def info(**changes: object) -> dict[str, object]:
    return {
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=apparmor", "name=cgroupns"],
        "Runtimes": {"runc": {}, "io.containerd.runc.v2": {}},
        "CgroupVersion": "2",
        "CgroupDriver": "systemd",
        "DockerRootDir": "/var/lib/docker",
        "Driver": "overlay2",
        **changes,
    }


def version(engine: str = "29.6.1", runc: str = "1.3.3") -> dict[str, object]:
    return {"Version": engine, "KernelVersion": "6.18.44", "Components": [{"Name": "runc", "Version": runc}]}


def test_t5_each_version_is_told_beside_its_floor() -> None:
    good = {feature.name: feature.state for feature in facts.versions(facts.facts(version(), info()))}
    assert good == {"Docker engine": "on", "runc": "on", "kernel": "on"}
    old = facts.versions(facts.facts(version("20.10.24+dfsg1", "1.1.5+ds1"), info()))
    assert [feature.state for feature in old] == ["off", "off", "on"]
    assert "20.10.24+dfsg1 is below 29.5.1" in old[0].detail and "upgrade" in old[0].detail
    silent = facts.versions(facts.facts({}, {}))
    assert {feature.state for feature in silent} == {"unavailable"}


def test_t5_old_versions_are_refused_where_the_operator_is_strict() -> None:
    old = facts.facts(version("28.5.2", "1.2.7"), info())
    ground.refuse(old, Options("x"))
    with pytest.raises(SandboxUnavailable, match=r"Docker engine 28\.5\.2 is below .* runc 1\.2\.7 is below"):
        ground.refuse(old, Options("x", strict=True))
    ground.refuse(facts.facts(version(), info()), Options("x", strict=True))


def test_an_engine_that_cannot_isolate_is_refused_with_words() -> None:
    for changes, options, words in (
        ({}, Options("x", runtime="runsc"), "no runtime 'runsc' .* it has io.containerd.runc.v2, runc"),
        ({"SecurityOptions": []}, Options("x"), "without seccomp"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, Options("x"), "rootless"),
    ):
        with pytest.raises(SandboxUnavailable, match=words):
            ground.refuse(facts.facts(version(), info(**changes)), options)
    ground.refuse(facts.facts(version(), info(Runtimes={"runc": {}, "runsc": {}})), Options("x", runtime="runsc"))


def test_mapped_user_ids_are_read_from_where_the_engine_keeps_its_data() -> None:
    mapped = info(SecurityOptions=["name=seccomp", "name=userns"], DockerRootDir="/var/lib/docker/165536.165536")
    assert facts.facts(version(), mapped).remapped == 165536
    assert facts.facts(version(), info()).remapped == 0
    assert facts.facts(version(), info()).apparmor and not facts.facts({}, {}).apparmor


def test_paths_are_named_as_the_host_names_them() -> None:
    mapped = Paths(Path("/data"), Path("/srv/codeact"))
    assert mapped.host(Path("/data/run/one/gw")) == Path("/srv/codeact/run/one/gw")
    with pytest.raises(ValueError):
        mapped.host(Path("/etc"))
    with pytest.raises(ValueError):
        mapped.host(Path("/database"))
    assert Paths(Path("/"), Path("/")).host(Path("/data/x")) == Path("/data/x")
