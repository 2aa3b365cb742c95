"""The catalogue is whole, and says of every model what the orchestrator would decide from its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model_server.__main__ import main
from model_server.catalogue import BY_ID, CATALOGUE, DEFAULT, DEFAULT_VLLM, MODELS, UnknownModel, find
from orchestrator.agent.profiles import profile_for

ROOT = Path(__file__).resolve().parents[2]
WANTED = {"codeactagent-mistral-7b-v0.1", "codeactagent-llama-2-7b", "llama-3.3-70b-instruct"}
WANTED |= {f"qwen2.5-coder-{size}-instruct" for size in ("0.5b", "1.5b", "3b", "7b", "14b", "32b")}


def test_every_model_that_is_promised_is_there_once():
    assert set(BY_ID) >= WANTED
    assert len(BY_ID) == len(CATALOGUE)


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.id)
def test_an_entry_is_whole(model):
    assert re.fullmatch(r"[a-z0-9.-]+", model.id)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repository)
    assert re.fullmatch(r"[0-9a-f]{40}", model.revision), "a commit, not a branch that moves"
    assert 4096 <= model.served <= model.context
    assert model.gpu_gib > model.parameters * 2 * 0.93, "16-bit weights alone take that"
    assert model.licence
    assert model.template_path is None or model.template_path.is_file()


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.id)
def test_the_orchestrator_decides_the_same_profile_from_the_name(model):
    assert profile_for(model.id, "", "Execution Output:").name == model.profile


def test_a_codeact_model_has_the_template_it_was_trained_on():
    for model in CATALOGUE:
        assert (model.template == "chatml.jinja") == (model.profile == "codeact")


def test_the_embedded_model_is_an_entry_like_the_others():
    assert MODELS[DEFAULT.name] is DEFAULT
    assert BY_ID[DEFAULT.name].gguf is DEFAULT
    assert DEFAULT_VLLM.profile == "codeact"


@pytest.mark.parametrize("name", ["CodeActAgent-Mistral-7b-v0.1", "xingyaoww/CodeActAgent-Mistral-7b-v0.1"])
def test_a_model_is_found_by_id_and_by_repository(name):
    assert find(name) is DEFAULT_VLLM


def test_any_repository_and_any_directory_can_be_served(tmp_path):
    other = find("someone/Some-Model-9B")
    assert (other.id, other.repository, other.profile, other.template) == (
        "some-model-9b",
        "someone/Some-Model-9B",
        "fenced",
        "",
    )
    (tmp_path / "My-CodeAct-Tune").mkdir()
    tuned = find(str(tmp_path / "My-CodeAct-Tune"))
    assert (tuned.id, tuned.profile, tuned.template) == ("my-codeact-tune", "codeact", "chatml.jinja")
    (tmp_path / "codeactagent-llama-2-7b").mkdir()
    known = find(str(tmp_path / "codeactagent-llama-2-7b"))
    assert (known.served, known.revision, known.repository) == (4096, "", str(tmp_path / "codeactagent-llama-2-7b"))


@pytest.mark.parametrize("name", ["no-such-model", "../models", "/no/such/directory", "a/b/c", ""])
def test_a_name_that_means_nothing_is_refused_with_those_that_do(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModel, match=r"codeactagent-mistral-7b-v0\.1.*owner/name"):
        find(name)


def test_the_list_names_all_of_them(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(model.id in shown for model in CATALOGUE)
    assert "not for commercial use" in shown


def test_the_documentation_has_the_same_table():
    rows = [line for line in (ROOT / "docs/models.md").read_text().splitlines() if line.startswith("| `")]
    for model in CATALOGUE:
        row = next(line for line in rows if line.startswith(f"| `{model.id}`"))
        assert f"| {model.profile} |" in row
        assert f"| {model.gpu_gib} GiB |" in row
        assert f"{model.served:,}" in row
