"""Settings become the engine's command line: all that was asked for stands in it, and no secret does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from model_server import plan as planning
from model_server.catalogue import CATALOGUE, DEFAULT, UnknownModel
from model_server.fetch import place, remember
from model_server.plan import CannotServe, environment, gguf, plan_llama, plan_vllm
from model_server.settings import ServeSettings

KEY = "0123456789abcdef-key"


def settings(**fields: object) -> ServeSettings:
    return ServeSettings(**{"model_api_key": SecretStr(KEY), "model_engine": "vllm", "vllm_device": "cpu", **fields})


def option(command: tuple[str, ...], name: str) -> str:
    assert command.count(name) == 1, command
    return command[command.index(name) + 1]


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.id)
def test_every_model_of_the_catalogue_has_its_command(model):
    plan = plan_vllm(settings(model=model.id, model_port=9001, model_host="0.0.0.0"))
    assert option(plan.command, "--model") == model.repository
    assert option(plan.command, "--revision") == model.revision
    assert option(plan.command, "--served-model-name") == plan.name == model.id
    assert option(plan.command, "--max-model-len") == str(model.served)
    assert option(plan.command, "--generation-config") == "vllm"
    assert option(plan.command, "--override-generation-config") == '{"temperature": 0.0, "top_p": 1.0}'
    assert "--enable-prefix-caching" in plan.command
    assert "--enable-prompt-tokens-details" in plan.command
    assert ("--chat-template" in plan.command) == (model.template != "")
    assert plan.url == "http://127.0.0.1:9001"


def test_many_gpus_and_many_machines_are_settings(monkeypatch, tmp_path):
    monkeypatch.setattr(planning, "GPU_DEVICES", (tmp_path,))
    plan = plan_vllm(
        settings(
            vllm_device="gpu", vllm_tensor_parallel=8, vllm_pipeline_parallel=2, vllm_ray=True, vllm_gpu_memory=0.85,
            vllm_max_num_seqs=64, model_max_len=8192, vllm_args="--swap-space '4' --dtype=half", model_revision="main",
            model="llama-3.3-70b-instruct", vllm_python="/opt/vllm/python", model_dir=Path("/models"),
        )
    )  # fmt: skip
    assert plan.command[0] == "/opt/vllm/python"
    assert option(plan.command, "--tensor-parallel-size") == "8"
    assert option(plan.command, "--pipeline-parallel-size") == "2"
    assert option(plan.command, "--distributed-executor-backend") == "ray"
    assert option(plan.command, "--gpu-memory-utilization") == "0.85"
    assert option(plan.command, "--max-num-seqs") == "64"
    assert option(plan.command, "--max-model-len") == "8192"
    assert option(plan.command, "--revision") == "main"
    assert option(plan.command, "--swap-space") == "4"
    assert plan.command[-1] == "--dtype=half"
    assert environment(plan)["HF_HUB_CACHE"] == "/models/hub"
    assert any("12 GiB on each of 16 GPUs" in note for note in plan.notes)
    assert any("HF_TOKEN" in note for note in plan.notes)
    assert any("CODEACT_MODEL_CONTEXT_TOKENS=8192" in note for note in plan.notes)


def test_the_key_is_in_the_environment_and_nowhere_else(monkeypatch, tmp_path):
    monkeypatch.setenv("CODEACT_MODEL_API_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n")
    for chosen in (settings(), settings(model_api_key="", model_api_key_file=tmp_path / "key")):
        for plan in (plan_vllm(chosen), plan_llama(chosen, tmp_path / "model.gguf")):
            assert KEY not in " ".join(plan.command)
            assert KEY not in repr(plan)
            assert sum(value == KEY for value in environment(plan).values()) == 1
    assert environment(plan_vllm(settings()))["VLLM_API_KEY"] == KEY


@pytest.mark.parametrize("key", ["", "short"])
def test_no_server_without_a_key_worth_the_name(key):
    with pytest.raises(CannotServe, match="openssl rand"):
        plan_vllm(settings(model_api_key=SecretStr(key)))


def test_a_key_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CannotServe, match=r"CODEACT_MODEL_API_KEY_FILE cannot be read.*absent"):
        plan_vllm(settings(model_api_key_file=tmp_path / "absent"))


@pytest.mark.parametrize("arguments", ["--api-key x", "--api-key=x", "--port 1", "--host=0.0.0.0", "--uds /x", "'unclosed"])
def test_more_arguments_may_not_replace_what_has_a_setting(arguments):
    with pytest.raises(CannotServe, match="CODEACT_VLLM_ARGS"):
        plan_vllm(settings(vllm_args=arguments))


def test_without_a_gpu_it_says_so_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr(planning, "GPU_DEVICES", (tmp_path / "nvidiactl",))
    with pytest.raises(CannotServe, match=r"No GPU.*--gpus all.*CODEACT_MODEL_ENGINE=llamacpp"):
        plan_vllm(settings(vllm_device="gpu"))


def test_what_was_fetched_before_is_served_from_there(tmp_path):
    model = CATALOGUE[0]
    chosen = settings(model=model.id, model_dir=tmp_path)
    place(model, tmp_path).mkdir()
    assert option(plan_vllm(chosen).command, "--model") == model.repository, "half of it may be there"
    remember(model, model.revision, place(model, tmp_path))
    assert option(plan_vllm(chosen).command, "--model") == str(tmp_path / model.id)
    assert "--revision" not in plan_vllm(chosen).command
    other = settings(model=model.id, model_dir=tmp_path, model_revision="main")
    assert option(plan_vllm(other).command, "--model") == model.repository, "another revision was asked for"


def test_llama_serves_its_file_and_says_which_it_has(tmp_path):
    chosen = settings(model_engine="llamacpp", model_host="0.0.0.0", model_port=9002)
    plan = plan_llama(chosen, tmp_path / "m.gguf")
    assert (plan.name, plan.url) == (DEFAULT.name, "http://127.0.0.1:9002")
    assert option(plan.command, "--host") == "0.0.0.0"
    assert option(plan.command, "--context") == str(DEFAULT.context)
    assert gguf(settings(model=DEFAULT.name)) is DEFAULT
    with pytest.raises(CannotServe, match="CODEACT_MODEL_ENGINE=vllm"):
        gguf(settings(model="qwen2.5-coder-7b-instruct"))
    with pytest.raises(UnknownModel):
        gguf(settings(model="nothing"))
