"""Settings as administrators see them: no secret, wherever one could hide."""

from __future__ import annotations

import json

import pytest

from orchestrator.admin.settings_view import shown, without_password
from orchestrator.settings import Settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+asyncpg://user:pa:ss@db/x", "postgresql+asyncpg://user:…@db/x"),
        ("postgresql+asyncpg://user@db/x?password=p", "postgresql+asyncpg://user@db/x?…"),
        ("redis://:p@redis:6379/0", "redis://:…@redis:6379/0"),
        ("https://us%40er:p%2F@[::1]:8/v1#p", "https://us%40er:…@[::1]:8/v1"),
        ("http://[broken:p@x", "(not a URL)"),
        ("memory://", "memory://"),
        ("plain text: no URL", "plain text: no URL"),
    ],
)
def test_a_url_is_shown_without_its_password(text, shown):
    assert without_password(text) == shown


def test_every_secret_setting_is_known_as_one():
    secret = {"executor_token": "S1", "model_api_key": "S2", "token": "S3", "store_url": "postgresql+asyncpg://u:S4@h/d"}
    text = json.dumps([line.model_dump() for line in shown(Settings(_env_file=None, **secret))])
    assert not [mark for mark in ("S1", "S2", "S3", "S4") if mark in text]
