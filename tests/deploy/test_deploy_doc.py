"""docs/deploy.md names nothing that is not there: files, settings, services, objects, commands."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess

import pytest
import yaml

from executor.__main__ import main as executor_main
from orchestrator.cli import _parser
from tests.support.rendered import OVERLAYS, ROOT, name, objects

DOC = ROOT / "docs" / "deploy.md"
TEXT = DOC.read_text()
CODE = "\n".join(re.findall(r"^    (.*)$", TEXT, re.MULTILINE) + re.findall(r"`([^`\n]+)`", TEXT))


def test_every_file_exists():
    named = set(re.findall(r"deploy/[\w./-]*\w|docs/\w+\.md|\.env\.example", CODE))
    assert {"deploy/caddy/Caddyfile", "deploy/kubernetes/overlays/cluster"} <= named
    assert [path for path in named if not (ROOT / path).exists()] == []
    overlay = ROOT / "deploy/kubernetes/overlays/cluster"
    parts = re.findall(r"- (\.\./\.\./[\w-]+)", CODE)
    assert len(parts) >= 3 and all((overlay / part / "kustomization.yaml").exists() for part in parts)
    made = (ROOT / "deploy/kubernetes/secrets.sh").read_text()
    assert all(path in made for path in re.findall(r"secrets/(backend/\w+)", CODE))


def test_every_page_and_place_that_is_linked_exists():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    for link in links:
        page, _, place = link.partition("#")
        if page:
            assert (DOC.parent / page).exists(), link
        if place:
            headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
            assert place in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, link


def test_every_setting_exists():
    listed = set(re.findall(r"^#?([A-Z]\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    told = set(re.findall(r"CODEACT_\w+", (ROOT / "docs" / "models.md").read_text()))
    manifests = "\n".join(path.read_text() for path in (ROOT / "deploy/kubernetes").rglob("*.yaml"))
    named = set(re.findall(r"\b(CODEACT_\w+|COMPOSE_PROFILES|RAY_NODES)\b", TEXT))
    assert len(named) > 12 and named - listed - told <= set(re.findall(r"name: (\w+)", manifests))


def test_every_compose_service_profile_and_path_exists():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = set(compose["services"])
    verbs = re.compile(r"docker compose (exec|logs|run|up)((?: -\S+(?: tar)?)*)((?: [a-z][\w-]*)*)")
    named: set[str] = set()
    for verb, _, words in verbs.findall(CODE):
        chosen = words.split()
        named |= set(chosen[:1] if verb in ("exec", "run") else chosen)
    assert {"postgres", "secrets", "executor", "model-server-gpu"} <= named <= services
    profiles = {profile for service in compose["services"].values() for profile in service.get("profiles", [])}
    assert set(re.findall(r"COMPOSE_PROFILES=(\w+)", CODE)) <= profiles
    mounts = str(compose["services"]["executor"]["volumes"]) + str(compose["services"]["secrets"]["volumes"])
    assert "/var/lib/codeact" in mounts and "/secrets/kept" in mounts
    assert "127.0.0.1:${CODEACT_HTTP_PORT:-8000}" in str(compose["services"]["frontend"]["ports"]).replace(
        "${CODEACT_HTTP_BIND:-127.0.0.1}", "127.0.0.1"
    )


def test_every_object_of_the_cluster_exists():
    there = {(found["kind"].lower(), *name(found)) for overlay in OVERLAYS for found in objects(overlay)}
    for space, kind, of in re.findall(r"kubectl -n (\S+) .*?\b(job|deployment|service)[/ ]([\w-]+)", CODE):
        assert (kind, space, of) in there, (kind, space, of)
    for space, pod in re.findall(r"kubectl -n (\S+) exec (\w+)-0", CODE):
        assert ("statefulset", space, pod) in there
    labels = yaml.safe_dump([found for overlay in OVERLAYS for found in objects(overlay)])
    for label in re.findall(r"(codeact\.\w+)=true", CODE):
        assert label in labels, label
    for volume in ("codeact-workspaces", "data-executor-0"):
        assert f"`{volume}`" in TEXT
    sets = [found for found in objects("cluster") if found["kind"] == "StatefulSet" and name(found)[1] == "executor"]
    assert [claim["metadata"]["name"] for of in sets for claim in of["spec"]["volumeClaimTemplates"]] == ["data"]


def test_every_target_and_command_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", TEXT)) <= targets
    [commands] = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    job = next(found for found in objects("cluster") if found["kind"] == "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] in commands.choices
    with pytest.raises(SystemExit) as ended:
        executor_main(["doctor", "--help"])
    assert ended.value.code == 0 and "python -m executor doctor" in CODE


def test_the_caddyfile_can_be_read(tmp_path):
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("there is no caddy here")
    text = (ROOT / "deploy/caddy/Caddyfile").read_text().replace("/var/log/caddy", str(tmp_path))
    (tmp_path / "Caddyfile").write_text(text)
    command = [caddy, "adapt", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile", "--validate"]
    done = subprocess.run(command, capture_output=True, text=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr


def test_the_caddyfile_and_the_stack_agree():
    text = (ROOT / "deploy/caddy/Caddyfile").read_text()
    nginx = (ROOT / "frontend/nginx/backend.conf").read_text()
    assert "reverse_proxy 127.0.0.1:8000" in text and "flush_interval -1" in text
    assert re.search(r"read_timeout (\d+)s", text)[1] == re.search(r"proxy_read_timeout (\d+)s", nginx)[1]
