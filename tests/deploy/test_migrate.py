"""`codeact migrate`, which the Job of deploy/kubernetes runs."""

from __future__ import annotations

import sqlite3

import pytest

from orchestrator.cli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODEACT_DATA_DIR", str(tmp_path))


def test_a_database_is_brought_up_to_date_and_a_second_time_changes_nothing(tmp_path, monkeypatch, capsys):
    file = tmp_path / "store.sqlite3"
    monkeypatch.setenv("CODEACT_STORE_URL", f"sqlite+aiosqlite:///{file}")
    found = []
    for _ in range(2):
        assert main(["migrate"]) == 0
        with sqlite3.connect(file) as database:
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            found.append((tables, database.execute("SELECT version_num FROM alembic_version").fetchall()))
    assert found[0] == found[1] and "conversations" in found[0][0] and len(found[0][1]) == 1
    assert capsys.readouterr().out.count("up to date") == 2


def test_a_database_that_does_not_answer_or_is_newer_is_told_and_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODEACT_STORE_URL", "postgresql+asyncpg://nobody:secret@127.0.0.1:1/nothing")
    assert main(["migrate"]) == 1
    said = capsys.readouterr().err
    assert "does not answer" in said and "secret" not in said
    monkeypatch.setenv("CODEACT_STORE_URL", f"sqlite+aiosqlite:///{tmp_path / 'newer.sqlite3'}")
    assert main(["migrate"]) == 0
    with sqlite3.connect(tmp_path / "newer.sqlite3") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert main(["migrate"]) == 1
    assert "written by a newer version" in capsys.readouterr().err
    with sqlite3.connect(tmp_path / "newer.sqlite3") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
