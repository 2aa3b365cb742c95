"""deploy/kubernetes: what a cluster would be given is valid, hangs together, and keeps the golden policy."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
from pydantic_settings import BaseSettings

from executor.sandbox.base import Limits, Spec
from executor.sandbox.kubernetes.body import APP, NAME, Kit, Placed, pod_body
from executor.sandbox.kubernetes.ground import Options
from executor.settings import ServiceSettings
from executor.settings import Settings as SandboxSettings
from orchestrator.settings import Settings
from tests.support.pod_security import complaints
from tests.support.rendered import OVERLAYS, ROOT, SOURCE, WORKLOADS, name, objects, of_kind, pods, tree

VERSIONS = ("1.29", "1.32", "1.37")  # the oldest of those that are still looked after somewhere, one between, the newest
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
each = pytest.mark.parametrize("overlay", OVERLAYS)


@each
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_and_has_no_key_that_kubernetes_does_not_know(overlay, version):
    for found in objects(overlay):
        kubernetes_validate.validate(found, version, strict=True)


@each
def test_the_policy_holds_for_every_container(overlay):
    looked_at = 0
    for workload, pod in pods(overlay):
        assert complaints(pod["spec"]) == [], name(workload)
        looked_at += len(pod["spec"]["containers"])
    assert looked_at >= 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec, container: container["securityContext"].pop("capabilities"), "keeps capabilities"),
        (lambda spec, container: container["securityContext"].update(privileged=True), "is privileged"),
        (lambda spec, container: container["securityContext"].pop("allowPrivilegeEscalation"), "may gain privileges"),
        (lambda spec, container: container["securityContext"].update(runAsUser=0), "may run as root"),
        (lambda spec, container: spec["securityContext"].pop("seccompProfile"), "has no system call filter"),
        (lambda spec, container: spec.update(hostNetwork=True), "hostNetwork is set"),
        (lambda spec, container: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "is a hostPath"),
        (lambda spec, container: container["resources"].pop("limits"), "has no memory limit"),
        (lambda spec, container: container["securityContext"].pop("readOnlyRootFilesystem"), "can write to its root"),
    ],
)
def test_the_policy_sees_what_it_is_there_for(change, words):
    spec = json.loads(json.dumps(next(pod["spec"] for found, pod in pods("cluster") if name(found)[1] == "backend")))
    change(spec, spec["containers"][0])
    assert words in " ".join(complaints(spec))


@each
def test_both_namespaces_are_restricted_and_everything_has_one(overlay):
    spaces = {found["metadata"]["name"]: found["metadata"]["labels"] for found in of_kind(overlay, "Namespace")}
    assert set(spaces) == {"codeact", "codeact-sandboxes"}
    assert all(labels.items() >= RESTRICTED.items() for labels in spaces.values())
    assert {name(found)[0] for found in objects(overlay) if found["kind"] != "Namespace"} == set(spaces)


@each
def test_whatever_a_pod_names_is_there(overlay):
    there = {(found["kind"], *name(found)) for found in objects(overlay)}
    for workload, pod in pods(overlay):
        space, spec = name(workload)[0], pod["spec"]
        wanted = [("ServiceAccount", spec["serviceAccountName"])]
        for volume in spec.get("volumes", []):
            wanted += [("Secret", volume["secret"]["secretName"])] if "secret" in volume else []
            wanted += [("ConfigMap", volume["configMap"]["name"])] if "configMap" in volume else []
            claim = volume.get("persistentVolumeClaim")
            wanted += [("PersistentVolumeClaim", claim["claimName"])] if claim else []
        for container in spec["containers"]:
            wanted += [("ConfigMap", source["configMapRef"]["name"]) for source in container.get("envFrom", [])]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            made = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
            assert mounted == {volume["name"] for volume in spec.get("volumes", [])} | made
        assert {(kind, space, of) for kind, of in wanted} <= there, name(workload)


@each
def test_whatever_selects_pods_selects_some(overlay):
    labelled = [(name(found)[0], pod["metadata"]["labels"]) for found, pod in pods(overlay)]
    for found in of_kind(overlay, "Service", "PodDisruptionBudget", *WORKLOADS):
        if found["kind"] == "Job":
            continue
        selector = dict(found["spec"]["selector"].get("matchLabels", found["spec"]["selector"]))
        selector.pop("statefulset.kubernetes.io/pod-name", None)  # the cluster's own label
        chosen = [labels for space, labels in labelled if space == name(found)[0] and selector.items() <= labels.items()]
        assert len(chosen) == 1, name(found)
    for found in of_kind(overlay, "HorizontalPodAutoscaler"):
        target = found["spec"]["scaleTargetRef"]
        assert (target["kind"], name(found)[0], target["name"]) in {(w["kind"], *name(w)) for w, _ in pods(overlay)}


@each
def test_what_runs_on_is_probed_and_what_is_probed_has_the_port(overlay):
    for workload, pod in pods(overlay):
        for container in pod["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            probes = [container[kind] for kind in container if kind.endswith("Probe")]
            assert all(probe["httpGet"]["port"] in ports for probe in probes if "httpGet" in probe), name(workload)
            if workload["kind"] != "Job" and overlay != "cluster-ray":
                assert "readinessProbe" in container, name(workload)
    services = {name(found): found for found in of_kind(overlay, "Service")}
    assert services["codeact", "frontend"]["spec"]["ports"][0]["port"] == 80
    assert not any(found["spec"].get("type") in ("NodePort", "LoadBalancer") for found in services.values())


def test_images_are_those_that_the_compose_file_builds():
    built = set(re.findall(r"image: (codeact-[a-z-]+):", (ROOT / "docker-compose.yml").read_text()))
    used = {
        container["image"] for overlay in OVERLAYS for _, pod in pods(overlay) for container in pod["spec"]["containers"]
    }
    assert {image.partition(":")[0] for image in used} <= built and "codeact-sandbox" in built


def test_the_executor_may_make_pods_in_its_own_namespace_and_nothing_else():
    [role] = of_kind("cluster", "Role")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "watch", "delete"]}
    ]
    [binding] = of_kind("cluster", "RoleBinding")
    assert name(role)[0] == name(binding)[0] == "codeact-sandboxes" and len(binding["subjects"]) == 1
    assert of_kind("cluster", "ClusterRole", "ClusterRoleBinding") == []
    mounting = [
        name(found)[1] for found, pod in pods("cluster") if pod["spec"].get("automountServiceAccountToken") is not False
    ]
    assert mounting == ["executor"]


# ---- settings ----------------------------------------------------------------------------------------------------------


def known() -> set[str]:
    listed = re.findall(r"^#?(CODEACT_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    told = re.findall(r"CODEACT_\w+", (ROOT / "docs" / "models.md").read_text())
    return {*listed, *told, "CODEACT_SECRETS_DIR"}


@each
def test_every_setting_that_is_set_exists(overlay):
    named = {key for found in of_kind(overlay, "ConfigMap") for key in found.get("data", {}) if key.startswith("CODEACT_")}
    for _, pod in pods(overlay):
        for container in pod["spec"]["containers"]:
            named |= {pair["name"] for pair in container.get("env", []) if pair["name"].startswith("CODEACT_")}
    assert len(named) > 20 and named - known() == set()


def environment(overlay: str, workload: str) -> dict[str, str]:
    maps = {name(found): found["data"] for found in of_kind(overlay, "ConfigMap")}
    found, pod = next((found, pod) for found, pod in pods(overlay) if name(found)[1] == workload)
    container = pod["spec"]["containers"][0]
    values: dict[str, str] = {}
    for source in container.get("envFrom", []):
        values |= maps[name(found)[0], source["configMapRef"]["name"]]
    return values | {pair["name"]: pair["value"] for pair in container.get("env", []) if "value" in pair}


@each
def test_the_executor_starts_with_its_settings_and_they_fit_the_manifests(overlay, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for key, value in environment(overlay, "executor").items():
        monkeypatch.setenv(key, value.replace("$(POD_IP)", "10.1.2.3"))
    settings, service = SandboxSettings(), ServiceSettings()
    there = {(found["kind"], *name(found)) for found in objects(overlay)}
    assert settings.backend == "kubernetes" and settings.kube_door == "10.1.2.3:8101" and service.host == "0.0.0.0"
    assert ("PersistentVolumeClaim", settings.kube_namespace, settings.kube_claim) in there
    assert ("ServiceAccount", settings.kube_namespace, settings.kube_account) in there
    [quota] = of_kind(overlay, "ResourceQuota")
    room = int(quota["spec"]["hard"]["limits.memory"].removesuffix("Gi"))
    if overlay != "dev":  # the executor's own, and two sandboxes on their way out
        assert room >= (settings.max + 2) * settings.memory_mb / 1024 + 2
        assert int(quota["spec"]["hard"]["pods"]) > settings.max + 2
    executor = next(pod["spec"] for found, pod in pods(overlay) if name(found)[1] == "executor")
    mounts = {mount["name"]: mount["mountPath"] for mount in executor["containers"][0]["volumeMounts"]}
    assert mounts["workspaces"] == f"{service.data_dir}/workspaces" and mounts["data"] == str(service.data_dir)
    secrets = str(Path(service.token_file or "").parent)
    assert mounts["secrets"] == secrets


@each
def test_the_backend_starts_with_its_settings(overlay, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for key, value in environment(overlay, "backend").items():
        monkeypatch.setenv(key, value)
    settings: BaseSettings = Settings(_secrets_dir=tree() / "overlays" / overlay / "secrets" / "backend")
    told = settings.model_dump()
    assert told["auth"] == "accounts" and told["kernel_url"] == "http://executor.codeact-sandboxes:8100"
    assert told["store_url"].startswith("postgresql+asyncpg://") and told["bus_url"].startswith("redis://")
    assert told["model_name"] and told["metrics_port"] == 9464


def test_a_sandbox_is_selected_by_the_policies_and_keeps_the_policy_of_all_pods():
    options = Options("x", Path("/data"))
    kit = Kit(options.namespace, "image", options.claim, options.account, "", "", False, "runner")
    pod = pod_body(Spec("one", Path("/data/talk"), Limits()), kit, Placed("p", "talk", "d", "10.0.0.1:8101", 0, 60))
    assert complaints(pod["spec"]) == [] and pod["metadata"]["labels"][APP] == NAME
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    [policy] = [found for found in of_kind("cluster", "NetworkPolicy") if name(found) == ("codeact-sandboxes", "sandbox")]
    assert policy["spec"]["podSelector"]["matchLabels"] == {APP: NAME}


# ---- files -------------------------------------------------------------------------------------------------------------


def test_the_proxy_differs_from_the_image_s_only_in_the_backends_name():
    def said(path: Path) -> list[str]:
        lines = (line for line in path.read_text().splitlines() if not line.startswith(("#", "set $backend")))
        return [line.replace("http://$backend:8000", "http://backend:8000") for line in lines]

    assert said(SOURCE / "base/app/backend.conf") == said(ROOT / "frontend/nginx/backend.conf")


def test_secrets_are_made_once_are_nobody_elses_and_are_not_in_git(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("")
    make = [SOURCE / "secrets.sh", tmp_path]
    subprocess.run(make, check=True, capture_output=True)
    first = {path: path.read_text() for path in (tmp_path / "secrets").rglob("*") if path.is_file()}
    assert subprocess.run(make, check=True, capture_output=True).stdout == b""
    assert first == {path: path.read_text() for path in first} and len(first) == 8
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 and not text.endswith("\n") for path, text in first.items())
    said = {path.relative_to(tmp_path / "secrets").as_posix(): text for path, text in first.items()}
    assert said["backend/codeact_executor_token"] == said["executor/codeact_executor_token"]
    assert said["backend/codeact_model_api_key"] == said["model/codeact_model_api_key"]
    assert said["postgres/postgres_password"] in said["backend/codeact_store_url"]
    assert subprocess.run([SOURCE / "secrets.sh", tmp_path / "nowhere"], capture_output=True).returncode == 2
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/kubernetes/overlays/cluster/secrets/x"], cwd=ROOT, env=os.environ
    )
    assert ignored.returncode == 0
