"""Every setting of the orchestrator, and the only place that reads the environment.

`.env.example` at the project's root lists the same names with the same defaults; a test compares the two.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Where conversations and workspaces live: `$XDG_DATA_HOME/codeact` (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "codeact"


MOST = 2**53

Directory = Annotated[Path, AfterValidator(Path.expanduser)]
"""`~` is the home directory here too, not only in a shell."""


class Settings(BaseSettings):
    """`CODEACT_…` in the environment, or in a `.env` file in the working directory, or in files: where CODEACT_SECRETS_DIR
    names a directory, `codeact_store_url` in there is CODEACT_STORE_URL, and so on. The environment goes before files."""

    model_config = SettingsConfigDict(
        env_prefix="CODEACT_",
        env_file=".env",
        secrets_dir=os.environ.get("CODEACT_SECRETS_DIR") or None,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # where it listens
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    # where things are (architecture: the same program with other URLs)
    data_dir: Directory = Field(default_factory=default_data_dir)
    store_url: str = ""  # empty: SQLite in the data directory
    store_pool: Annotated[int, Field(ge=1)] = 8  # connections to PostgreSQL that are kept; SQLite needs none
    store_overflow: Annotated[int, Field(ge=0)] = 8  # more of them at busy times
    bus_url: str = "memory://"
    kernel_url: str = "local://"
    executor_token: SecretStr = SecretStr("")  # what an executor of its own wants to see (kernel_url http://…)
    executor_token_file: Directory | None = None  # a file that holds it, in its place
    model_url: str = ""  # empty: the embedded model server
    model_dir: Directory | None = None  # where the embedded model's file is kept; None: $XDG_CACHE_HOME/codeact/models

    # the model
    model_name: str = ""  # empty: the embedded model, or the first that the server lists
    model_api_key: str = ""
    model_profile: Literal["", "codeact", "fenced", "tools"] = ""  # empty: by the model's name
    model_observation_prefix: str = "Execution Output:"  # of the codeact profile; the training data had "Observation:"
    model_context_tokens: Annotated[int, Field(ge=1024)] = 16384
    model_temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    model_max_tokens: Annotated[int, Field(ge=16)] = 1024  # of one message of the model
    model_first_token_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    model_prefill: bool = False  # read the system prompt ahead when the page first opens; set for the embedded model
    model_idle_timeout_s: Annotated[float, Field(gt=0)] = 60.0  # between two pieces of a message

    # stopping, and others that take over
    drain_s: Annotated[float, Field(ge=0)] = 0.0  # how long running turns may go on after SIGTERM; nothing new is begun

    # limits of one turn; at each of them the user can go on with Continue
    turn_max_executions: Annotated[int, Field(ge=1)] = 10
    turn_max_seconds: Annotated[float, Field(gt=0)] = 1800.0
    turn_max_tokens: Annotated[int, Field(ge=64)] = 16384
    cell_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    sandbox_profile: Literal["standard", "net"] = "standard"  # the executor's setting: the model is told what it can reach

    # what each user may use, where nothing else is set for them or their group; 0: as much as they like
    quota_messages_per_day: Annotated[int, Field(ge=0, le=MOST)] = 0
    quota_model_tokens_per_day: Annotated[int, Field(ge=0, le=MOST)] = 0
    quota_cpu_seconds_per_day: Annotated[int, Field(ge=0, le=MOST)] = 0
    quota_sandboxes: Annotated[int, Field(ge=0, le=MOST)] = 0  # at a time
    quota_disk_mb: Annotated[int, Field(ge=0, le=2**32)] = 0
    # how often anybody may ask, on each server; 0: as often as they like
    rate_user_per_minute: Annotated[int, Field(ge=0, le=10**6)] = 0
    rate_address_per_minute: Annotated[int, Field(ge=0, le=10**6)] = 0

    # who may use it
    auth: Literal["none", "accounts"] = "none"  # none: one person, on this machine
    registration: Literal["closed", "open", "invite"] = "closed"  # for all but the first, who becomes administrator
    public_url: str = ""  # where people find it, when a proxy stands before it: https://chat.example.org
    trusted_proxies: str = ""  # addresses and networks whose X-Forwarded-For and -Proto are believed, comma separated
    token: SecretStr = SecretStr("")  # for `codeact chat` against a server with accounts
    oidc_issuer: str = ""  # an OpenID provider that people may sign in with, as it calls itself
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_label: str = "Single sign-on"  # on the button
    oidc_scopes: str = "openid email profile"
    oidc_newcomers: bool = False  # whoever comes from there gets an account, whatever `registration` says

    # how the page is reached
    allowed_hosts: str = ""  # more names this server answers to, comma separated
    ui_dir: Directory | None = None  # the built UI; None: frontend/dist beside the backend
    serve_ui: bool = True  # false: another server has the page, and this one need not
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # what operators see
    log_format: Literal["text", "json"] = "text"  # json: one object a line, requests included
    metrics_host: str = "127.0.0.1"  # where Prometheus reads /metrics; never the port that browsers come to
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0  # 0: nowhere
    otlp_endpoint: str = Field("", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")  # where traces go; empty: nowhere
