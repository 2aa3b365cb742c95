"""An engine's last words become a cause and a next step."""

from __future__ import annotations

import pytest

from model_server.troubles import TROUBLES, explain

SAID = [
    ("ModuleNotFoundError: No module named 'vllm'", "CODEACT_VLLM_PYTHON"),
    ("huggingface_hub.errors.GatedRepoError: 403 Client Error. Access to model meta-llama/x is restricted", "HF_TOKEN"),
    ("OSError: no/such is not a local folder and is not a valid model identifier listed on the hub", "CODEACT_MODEL"),
    ("OSError: We couldn't connect to the hub to load the files", "cannot be reached"),
    ("OSError: [Errno 98] Address already in use", "CODEACT_MODEL_PORT"),
    ("api_server.py: error: unrecognized arguments: --brand-new 7", "--brand-new 7"),
    ("ValueError: User-specified max_model_len (99999) is greater than the derived max_model_len (2048)", "99999"),
    ("ValueError: To serve at least one request with the models's max seq len (32768), (4.0 GiB KV cache is needed", "LEN"),
    ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "GPU_MEMORY"),
    ("ValueError: Free memory on device (3.1/23.6 GiB) on startup is less than desired GPU memory util", "nvidia-smi"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 96.00 MiB", "TENSOR_PARALLEL"),
    ("ValueError: World size (8) is larger than the number of available GPUs (1) in this node", "TENSOR_PARALLEL"),
    ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8)", "TENSOR_PARALLEL"),
    ("RuntimeError: Failed to infer device type", "nvidia-smi"),
    ("RuntimeError: No CUDA GPUs are available", "nvidia-smi"),
    ("ray.exceptions.RayActorError: the actor died", "ray start"),
    ("As of transformers v4.44, you must provide a chat template if the tokenizer does not", "--chat-template FILE"),
    ("jinja2.exceptions.TemplateSyntaxError: unexpected '}'", "cannot be used"),
    ("OSError: [Errno 28] No space left on device", "CODEACT_MODEL_DIR"),
]


@pytest.mark.parametrize(("line", "step"), SAID)
def test_a_known_cause_is_told_with_the_next_step(line, step):
    told = explain(["INFO starting", "INFO Using supplied chat template: chatml.jinja", line, "INFO the end"], 1)
    assert step in told
    assert line[:60] in told, "its own words stand by"


def test_all_causes_that_are_told_are_tried_here():
    told = {explain([line], 1).partition(" It said:")[0] for line, _ in SAID}
    assert len(told) >= len(TROUBLES) - 2


def test_a_cause_that_nobody_foresaw_is_quoted():
    assert explain(["all well", "KeyError: 'rope'", ""], 1).endswith("It said last: KeyError: 'rope'")
    assert "said nothing" in explain([], 3)
    assert "memory ran out" in explain(["loading weights"], -9)


def test_a_flood_is_not_repeated():
    assert len(explain(["x" * 100_000], 1)) < 600
    assert len(explain(["CUDA out of memory " + "x" * 100_000], 1)) < 900
