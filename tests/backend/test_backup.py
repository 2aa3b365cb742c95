"""`codeact backup` and `codeact restore`: what comes back is what was saved, across databases, or nothing at all."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from executor.wire import FileChange
from orchestrator.adapters import store_sql
from orchestrator.adapters.backup import LEFT_OUT
from orchestrator.adapters.tables import metadata
from orchestrator.cli import backup, main
from orchestrator.protocol.outputs import TextOutput
from orchestrator.settings import Settings
from tests.contract.test_store import cell, closed, open_turn, step
from tests.support.raw_sql import raw

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
NASTY = 'quotes " and \\ and \0 and \ud800 and 😀 and \u2028\r\n'


class Place:
    """A server's settings, on a database of the kind."""

    def __init__(self, kind: str, folder: Path, request: pytest.FixtureRequest) -> None:
        folder.mkdir()
        url = "" if kind == "sqlite" else request.getfixturevalue("postgres").database()
        self.settings = Settings(_env_file=None, data_dir=folder, store_url=url)
        self.url = url or f"sqlite+aiosqlite:///{folder}/codeact.sqlite3"
        self.store = store_sql.create(self.url)

    async def fill(self) -> None:
        await self.store.migrate()
        for n in range(3):
            await self.store.create_conversation("local", f"c{n}", f"Title {n} 😀", 0.1 + n)
            await open_turn(self.store, f"t{n}", conversation=f"c{n}", words=NASTY)
            outputs = [TextOutput(name="stdout", text=NASTY, late=False)]
            files = [FileChange(path="a b", change="new", size=2**40)]
            await self.store.append(f"c{n}", [step(f"t{n}", 2), cell(f"t{n}", 3, outputs, files), closed(f"t{n}", 4)])
        await open_turn(self.store, "open", 5, conversation="c0")
        async with raw(self.store) as connection:
            for statement in (
                "INSERT INTO users (id, email, name, role, group_name, password, disabled, founder, created_at)"
                " VALUES ('u', 'u@example.org', 'Ü', 'admin', '', 'hash', false, 1, 1.5)",
                "INSERT INTO audit (at, actor, action, subject, details) VALUES (1.25, 'u', 'did', 'it', '{}')",
                "INSERT INTO audit (at, actor, action, subject, details) VALUES (2.25, 'u', 'did', 'it', '{}')",
            ):
                await connection.execute(text(statement))

    async def rows(self) -> dict[str, list[tuple]]:
        async with raw(self.store) as connection:
            return {
                table.name: [
                    tuple(row) for row in await connection.execute(select(table).order_by(*table.primary_key.columns))
                ]
                for table in metadata.sorted_tables
                if table.name not in LEFT_OUT
            }

    async def save(self, file: Path, *files: Path) -> int:
        return await asyncio.to_thread(backup.save, self.settings, file, *(files or (None,)))

    async def restore(self, file: Path, *files: Path, replace: bool = False) -> int:
        return await asyncio.to_thread(backup.restore, self.settings, file, *(files or (None,)), replace)


@pytest.fixture
async def place(request, tmp_path):
    made: list[Place] = []

    def make(kind: str) -> Place:
        made.append(Place(kind, tmp_path / f"place{len(made)}", request))
        return made[-1]

    yield make
    for one in made:
        await one.store.close()


@pytest.mark.parametrize("to", BOTH)
@pytest.mark.parametrize("kind", BOTH)
async def test_what_comes_back_is_what_was_saved(place, tmp_path, kind, to):
    source, target = place(kind), place(to)
    await source.fill()
    assert await source.save(tmp_path / "b.zip") == 0
    assert (tmp_path / "b.zip").stat().st_mode & 0o777 == 0o600 and not list(tmp_path.glob("*.part"))
    assert await target.restore(tmp_path / "b.zip") == 0
    assert await target.rows() == await source.rows()
    # and it goes on: the open turn is anybody's, new rows are numbered on
    await target.store.migrate()
    [left] = await target.store.left_open("other")
    assert left.turn == "open" and len((await target.store.take_over(left, "other")).events) == 5
    async with raw(target.store) as connection:
        await connection.execute(
            text("INSERT INTO audit (at, actor, action, subject, details) VALUES (3, 'u', 'did', 'it', '{}')")
        )
        assert (await connection.execute(text("SELECT max(id) FROM audit"))).scalar_one() == 3


@pytest.mark.parametrize("kind", BOTH)
async def test_it_is_one_moment_of_a_store_that_is_being_written(place, tmp_path, kind):
    source, target = place(kind), place("sqlite")
    await source.fill()
    over = asyncio.Event()

    async def write(conversation: str) -> None:
        seq = 4 if conversation != "c0" else 5
        n = 0
        while not over.is_set():
            n += 1
            if conversation != "c0":
                await open_turn(source.store, f"n{n}", seq + 1, conversation=conversation)
                await source.store.append(conversation, [closed(f"n{n}", seq + 2)])
                seq += 2
            else:
                await source.store.append(conversation, [step("open", seq + 1, "x" * 500)])
                seq += 1
            await asyncio.sleep(0)

    writing = [asyncio.create_task(write(f"c{n}")) for n in range(3)]
    try:
        for n in range(4):
            assert await source.save(tmp_path / f"b{n}.zip") == 0
    finally:
        over.set()
        await asyncio.gather(*writing)
    for n in range(4):
        assert await target.restore(tmp_path / f"b{n}.zip", replace=True) == 0
        async with raw(target.store) as connection:
            for conversation in ("c0", "c1", "c2"):
                last = select(metadata.tables["conversations"].c.last_seq).where(text(f"id = '{conversation}'"))
                count = select(func.count()).select_from(metadata.tables["events"]).where(
                    text(f"conversation_id = '{conversation}'")
                )  # fmt: skip
                assert (await connection.execute(last)).scalar_one() == (await connection.execute(count)).scalar_one()


@pytest.mark.parametrize("kind", BOTH)
async def test_a_store_that_holds_anything_is_replaced_only_when_told_to(place, tmp_path, kind, capsys):
    source, target = place("sqlite"), place(kind)
    await source.fill()
    await source.save(tmp_path / "b.zip")
    await target.store.migrate()
    await target.store.create_conversation("local", "mine", "", 1.0)
    before = await target.rows()
    assert await target.restore(tmp_path / "b.zip") == 1
    assert "--replace" in capsys.readouterr().err and await target.rows() == before
    await target.store.beat("a server")
    assert await target.restore(tmp_path / "b.zip", replace=True) == 1
    assert "Stop them" in capsys.readouterr().err and await target.rows() == before
    await target.store.leave("a server")
    assert await target.restore(tmp_path / "b.zip", replace=True) == 0
    assert await target.rows() == await source.rows()


async def test_what_is_no_whole_backup_changes_nothing(place, tmp_path, capsys):
    source, target = place("sqlite"), place("sqlite")
    await source.fill()
    await source.save(tmp_path / "b.zip")
    await target.fill()
    before = await target.rows()
    lines = zipfile.ZipFile(tmp_path / "b.zip").read("store.jsonl").splitlines(keepends=True)
    header = json.loads(lines[0])
    table = json.loads(lines[1])
    wrong: dict[str, bytes] = {
        "empty": b"",
        "not_json": b"hello\n",
        "half": b"".join(lines[: len(lines) // 2]),
        "no_end": b"".join(lines[:-1]),
        "a_row_less": b"".join([*lines[:2], *lines[3:]]),
        "more_after_the_end": b"".join([*lines, lines[1]]),
        "other": json.dumps({**header, "format": "other"}).encode() + b"\n",
        "newer": json.dumps({**header, "version": 2}).encode() + b"\n",
        "newer_tables": json.dumps({**header, "revision": "9999"}).encode() + b"\n",
        "unknown_table": b"".join([lines[0], json.dumps({**table, "table": "alembic_version"}).encode() + b"\n"]),
        "system_table": b"".join([lines[0], json.dumps({**table, "table": "sqlite_master"}).encode() + b"\n"]),
        "unknown_column": b"".join([lines[0], json.dumps({**table, "columns": ["id; DROP"]}).encode() + b"\n"]),
        "a_row_first": b"".join([lines[0], b"[1]\n"]),
    }
    for name, content in wrong.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("store.jsonl", content)
        assert await target.restore(tmp_path / f"{name}.zip", replace=True) == 1, name
        assert capsys.readouterr().err.strip(), name
        assert await target.rows() == before, name
    (tmp_path / "torn.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-30])
    (tmp_path / "text.zip").write_bytes(b"no zip at all")
    for name in ("torn.zip", "text.zip", "missing.zip"):
        assert await target.restore(tmp_path / name, replace=True) == 1
    assert await target.rows() == before


@pytest.mark.parametrize("kind", BOTH)
async def test_a_file_of_an_older_version_is_restored_and_brought_up_to_date(place, tmp_path, kind):
    tables = {
        "conversations": {"id": "c", "title": "T", "created_at": 1.0, "updated_at": 2.0, "last_seq": 1},
        "turns": {"conversation_id": "c", "id": "t", "owner": "o", "cursor": "0-0", "live": None, "opened_at": 1.0,
                  "closed_at": 2.0},
        "events": {"conversation_id": "c", "seq": 1, "turn_id": "t", "type": "turn.opened", "at": 1.0,
                   "payload": '{"type":"turn.opened","seq":1,"turn":"t","at":1.0,"text":"hi","via":"browser"}'},
    }  # fmt: skip
    lines: list[object] = [{"format": "codeact-backup", "version": 1, "revision": "0001", "made_at": 1.0}]
    for name, row in tables.items():
        lines += [{"table": name, "columns": list(row)}, list(row.values())]
    lines.append({"end": dict.fromkeys(tables, 1)})
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.writestr("store.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    target = place(kind)
    assert await target.restore(tmp_path / "old.zip") == 0
    await target.store.migrate()
    assert (await target.store.summary("local", "c")).title == "T"
    assert [event.text for event in await target.store.events("c")] == ["hi"]


async def test_files_come_along_and_what_is_no_ordinary_file_does_not(place, tmp_path, capsys):
    source, target = place("sqlite"), place("sqlite")
    await source.fill()
    work = source.settings.data_dir / "workspaces" / "c0"
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "a b.txt").write_bytes(b"x" * 100_000)
    (work / "run.sh").write_bytes(b"#!")
    (work / "run.sh").chmod(0o755)
    (work / "link").symlink_to("/etc/passwd")
    (work / "deep" / "out").symlink_to("/etc", target_is_directory=True)
    os.mkfifo(work / "pipe")
    assert await source.save(tmp_path / "b.zip", source.settings.data_dir / "workspaces") == 0
    assert "2 files" in capsys.readouterr().out
    assert b"root:" not in b"".join(zipfile.ZipFile(tmp_path / "b.zip").read(name) for name in
                                    zipfile.ZipFile(tmp_path / "b.zip").namelist())  # fmt: skip
    there = tmp_path / "elsewhere"
    assert await target.restore(tmp_path / "b.zip", there) == 0
    assert (there / "c0" / "deep" / "er" / "a b.txt").read_bytes() == b"x" * 100_000
    assert (there / "c0" / "run.sh").stat().st_mode & 0o777 == 0o755
    again = place("sqlite")
    assert await again.restore(tmp_path / "b.zip", there) == 1  # those are there already: the store is left alone, too
    assert "is there already" in capsys.readouterr().err
    await again.store.migrate()
    assert await again.store.summary("local", "c0") is None


@pytest.mark.parametrize(
    "name",
    [
        "workspaces/c/../../../etc/x", "/etc/x", "workspaces/c//x", "../x", "x", "workspaces/../x", "workspaces/c",
        "workspaces/c/./x",
    ],
)  # fmt: skip
async def test_names_that_lead_elsewhere_are_refused(place, tmp_path, name, capsys):
    source, target = place("sqlite"), place("sqlite")
    await source.fill()
    await source.save(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        archive.writestr(name, "evil")
    assert await target.restore(tmp_path / "b.zip", tmp_path / "out") == 1
    assert "holds a file called" in capsys.readouterr().err and not (tmp_path / "out").exists()


async def test_nothing_is_overwritten_and_an_empty_database_is_named(place, tmp_path, capsys):
    source = place("sqlite")
    assert await source.save(tmp_path / "b.zip") == 1
    assert "empty" in capsys.readouterr().err and not (tmp_path / "b.zip").exists()
    await source.fill()
    (tmp_path / "mine").write_text("mine")
    assert await source.save(tmp_path / "mine") == 1 and (tmp_path / "mine").read_text() == "mine"
    assert await source.save(tmp_path / "no" / "where") == 1
    assert "No such file" in capsys.readouterr().err


def test_the_commands_take_what_their_help_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODEACT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["migrate"]) == 0
    assert main(["backup", str(tmp_path / "b.zip")]) == 0
    assert main(["restore", str(tmp_path / "b.zip")]) == 0
    assert main(["migrate", "--back", "0001"]) == 0 and "revision 0001" in capsys.readouterr().out
    assert main(["migrate", "--back", "nonsense"]) == 1 and "Nothing was changed" in capsys.readouterr().err
    assert main(["migrate"]) == 0
