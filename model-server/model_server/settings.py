"""Settings of the model server as a service of its own; `.env.example` lists the same names and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Engine = Literal["llamacpp", "vllm"]
Directory = Annotated[Path, AfterValidator(Path.expanduser)]


class ServeSettings(BaseSettings):
    """`CODEACT_…` in the environment, or in a `.env` file in the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="CODEACT_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, protected_namespaces=()
    )

    model: str = ""  # empty: the engine's own default
    model_engine: Engine = "llamacpp"
    model_host: str = "127.0.0.1"
    model_port: Annotated[int, Field(ge=1, le=65535)] = 8080
    model_health_port: Annotated[int, Field(ge=1, le=65535)] = 8081
    model_api_key: SecretStr = SecretStr("")
    model_api_key_file: Directory | None = None  # a file that holds it, in its place
    model_dir: Directory | None = None
    model_revision: str = ""  # empty: the catalogue's
    model_max_len: Annotated[int, Field(ge=0)] = 0  # tokens; 0: the catalogue's
    model_start_minutes: Annotated[float, Field(gt=0)] = 60.0  # downloading included

    vllm_python: str = ""  # the interpreter that has vLLM; empty: this one
    vllm_device: Literal["gpu", "cpu"] = "gpu"
    vllm_gpu_memory: Annotated[float, Field(gt=0, le=1)] = 0.9  # share of each GPU's memory
    vllm_tensor_parallel: Annotated[int, Field(ge=1)] = 1  # GPUs that share every layer
    vllm_pipeline_parallel: Annotated[int, Field(ge=1)] = 1  # groups of GPUs that share the layers out
    vllm_ray: bool = False  # spread over the machines of a Ray cluster
    vllm_max_num_seqs: Annotated[int, Field(ge=0)] = 0  # requests at a time; 0: vLLM's own limit
    vllm_args: str = ""  # more arguments, as on a command line

    @property
    def key(self) -> str:
        """The key that clients have to show; empty where none is set. Raises OSError where its file cannot be read."""
        if self.model_api_key_file is not None:
            return self.model_api_key_file.read_text(encoding="utf-8").strip()
        return self.model_api_key.get_secret_value()
