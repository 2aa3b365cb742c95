""".env.example names every setting once, with the default that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from executor.settings import ServiceSettings
from executor.settings import Settings as SandboxSettings
from model_server.settings import ServeSettings
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"CODEACT_DATA_DIR", "CODEACT_MODEL_DIR", "CODEACT_UI_DIR", "CODEACT_SANDBOX_PYTHON"}
"""Paths whose default depends on the user or on the checkout: the file says where in words."""

COMPOSE = {"CODEACT_HTTP_BIND", "CODEACT_HTTP_PORT", "CODEACT_TAG"}
"""What docker-compose.yml alone reads."""


def listed() -> dict[str, str]:
    found = re.findall(r"^#?((?:CODEACT|OTEL)_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(found) == len(dict(found)), "a setting is listed twice"
    return dict(found)


def declared() -> dict[str, object]:
    names: dict[str, object] = {}
    for settings in (Settings, SandboxSettings, ServiceSettings, ServeSettings):
        prefix = str(settings.model_config["env_prefix"])
        for name, field in settings.model_fields.items():
            default = field.default
            default = default.get_secret_value() if isinstance(default, SecretStr) else default
            known_as = str(field.validation_alias or f"{prefix}{name}".upper())
            names[known_as] = str(default) if isinstance(default, Path) else default
    return names


def test_every_setting_is_listed_and_nothing_else():
    assert set(listed()) == set(declared()) | COMPOSE


@pytest.mark.parametrize("name", sorted(COMPOSE))
def test_what_compose_reads_has_its_default_there(name):
    assert f"${{{name}:-{listed()[name]}}}" in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("name", sorted(set(declared()) - ELSEWHERE))
def test_the_default_is_the_one_in_the_code(name):
    default = declared()[name]
    shown = listed()[name]
    if isinstance(default, bool):
        assert shown == str(default).lower()
    elif isinstance(default, int | float):
        assert float(shown) == default
    else:
        assert shown == str(default or "")


@pytest.mark.parametrize("settings", [Settings, SandboxSettings, ServiceSettings, ServeSettings])
def test_the_file_can_be_used_as_it_is(settings: type[BaseSettings], tmp_path, monkeypatch):
    """With every line switched on, the settings are what they are without it."""
    for name in declared():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    bare = settings()
    lines = [
        line.removeprefix("#")
        for line in (ROOT / ".env.example").read_text().splitlines()
        if line.startswith("#CODEACT_") and line.partition("=")[0].removeprefix("#") not in ELSEWHERE
    ]
    (tmp_path / ".env").write_text("\n".join(lines))
    assert settings() == bare


def test_an_empty_setting_is_the_default_and_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".env").write_text("CODEACT_UI_DIR=\nCODEACT_DATA_DIR=~/data\nCODEACT_SANDBOX_PYTHON=\n")
    assert Settings().ui_dir is None
    assert Settings().data_dir == tmp_path / "data"
    assert SandboxSettings().python.name == "python"
