"""docker-compose.yml and what lies around it agree with the code; no engine is needed. (`make test-stack` starts it.)"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor.settings import Settings as SandboxSettings
from model_server.catalogue import DEFAULT, DEFAULT_VLLM
from model_server.settings import ServeSettings
from orchestrator.security import FRAME_POLICY, PAGE_POLICY

ROOT = Path(__file__).resolve().parents[2]
NGINX = ROOT / "frontend" / "nginx"
LOCK = ROOT / "deploy" / "requirements.lock"
DOCKERFILES = sorted([*ROOT.glob("*/Dockerfile*"), *ROOT.glob("deploy/docker/*/Dockerfile")])
NOT_IN_A_CONTAINER = {
    # what docker-compose.yml decides itself, or what bubblewrap alone knows
    "CODEACT_SANDBOX_PYTHON", "CODEACT_SANDBOX_HOST_DATA_DIR", "CODEACT_SANDBOX_DOCKER_SOCKET",
}  # fmt: skip


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_nginx_says_of_files_what_the_backend_says_of_its_answers():
    assert f'Content-Security-Policy "{PAGE_POLICY}" always;' in (NGINX / "page-headers.conf").read_text()
    assert f'Content-Security-Policy "{FRAME_POLICY}" always;' in (NGINX / "frame-headers.conf").read_text()


def test_the_models_that_the_profiles_serve_by_default_are_the_catalogues():
    script = (ROOT / "deploy/docker/secrets/make-secrets.sh").read_text()
    found = re.findall(r"codeact_model_name \"\$\{CODEACT_MODEL:-(\S+)\}\"", script)
    assert found == [DEFAULT_VLLM.id, DEFAULT.name]


def test_every_setting_of_sandboxes_reaches_the_executor(services):
    prefix = "CODEACT_SANDBOX_"
    known = {f"{prefix}{name.upper()}" for name in SandboxSettings.model_fields if not name.startswith("kube_")}
    given = {name for name in services["executor"]["environment"] if name.startswith(prefix)}
    assert known - NOT_IN_A_CONTAINER <= given
    assert given <= known


def test_every_setting_of_the_model_server_reaches_it(services):
    known = {str(field.validation_alias or f"CODEACT_{name.upper()}") for name, field in ServeSettings.model_fields.items()}
    decided = {"CODEACT_MODEL_API_KEY", "CODEACT_VLLM_PYTHON", "CODEACT_VLLM_DEVICE", "CODEACT_VLLM_RAY"}
    assert known - decided <= set(services["model-server-gpu"]["environment"])
    assert {name for name in known if "VLLM" not in name} - decided <= set(services["model-server"]["environment"])


def test_only_the_frontend_publishes_a_port_and_only_the_executor_has_the_engines_socket(services):
    assert [name for name, service in services.items() if "ports" in service] == ["frontend"]
    assert [name for name, service in services.items() if "docker.sock" in str(service.get("volumes"))] == ["executor"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_image_can_be_built_by_the_classic_builder_and_its_base_be_pinned(file: Path):
    text = file.read_text()
    assert not re.search(r"RUN --|<<-?\s*[\"']?EOF", text)
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    for base in bases:
        name = re.fullmatch(r"\$\{(\w+)\}", base)
        assert base in stages | {"scratch"} or (name and re.search(rf"^ARG {name[1]}=\S+:\S+$", text, re.MULTILINE)), base


@pytest.mark.parametrize("package", ["codeact-orchestrator", "codeact-executor", "codeact-model-server"])
def test_an_image_gets_the_part_of_the_lock_that_its_service_needs(package: str):
    part = wanted(package)
    names = set(re.findall(r"^([\w.-]+)(?:\[.*\])?==", part, re.MULTILINE))
    assert "aiohttp" in names and "--hash=sha256:" in part
    assert ("xllamacpp" in names) == (package == "codeact-model-server")
    assert ("sqlalchemy" in names) == (package == "codeact-orchestrator")
    assert ("aiodocker" in names) == (package == "codeact-executor")
    every = re.findall(r"^([\w.-]+)(?:\[.*\])?==", LOCK.read_text(), re.MULTILINE)
    assert names < set(every)


def test_more_libraries_can_be_asked_for_and_unknown_ones_are_refused():
    assert "opentelemetry-sdk==" in wanted("codeact-executor", "opentelemetry-sdk")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        wanted("codeact-nobody")
    assert "The lock knows no codeact-nobody" in refused.value.stderr


def wanted(*names: str) -> str:
    command = [sys.executable, str(ROOT / "deploy/docker/wanted.py"), *names]
    run = subprocess.run(command, input=LOCK.read_text(), capture_output=True, text=True, check=True)
    return run.stdout
