"""Settings out of files: what CODEACT_SECRETS_DIR names is read when the program starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHOW = "from orchestrator.settings import Settings; s = Settings(); print(s.store_url, s.executor_token.get_secret_value())"


def shown(cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEACT_")}
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", SHOW], cwd=cwd, env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.strip()


def test_a_file_of_the_directory_is_a_setting(tmp_path):
    (tmp_path / "codeact_store_url").write_text("postgresql+asyncpg://file/db\n")
    (tmp_path / "codeact_executor_token").write_text("from-a-file-0123456")
    assert shown(tmp_path, CODEACT_SECRETS_DIR=str(tmp_path)) == "postgresql+asyncpg://file/db from-a-file-0123456"


def test_the_environment_goes_before_files(tmp_path):
    (tmp_path / "codeact_store_url").write_text("postgresql+asyncpg://file/db")
    told = shown(tmp_path, CODEACT_SECRETS_DIR=str(tmp_path), CODEACT_STORE_URL="postgresql+asyncpg://environment/db")
    assert told == "postgresql+asyncpg://environment/db"


def test_without_it_no_directory_is_read(tmp_path):
    (tmp_path / "codeact_store_url").write_text("postgresql+asyncpg://file/db")
    assert shown(tmp_path) == shown(tmp_path, CODEACT_SECRETS_DIR="") == ""
