"""Keys, tokens and records: what a restarted executor knows its sandboxes by."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.sandbox import identity, record
from executor.sandbox.record import Record

ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def test_the_key_is_made_once_and_is_this_users_alone(tmp_path: Path) -> None:
    key = identity.runner_key(tmp_path)
    assert identity.runner_key(tmp_path) == key and len(key) == 32
    assert (tmp_path / "runner.key").stat().st_mode & 0o777 == 0o600
    assert identity.runner_key((tmp_path / "x").parent) == key
    (tmp_path / "other").mkdir()
    assert identity.runner_key(tmp_path / "other") != key


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_half_a_key_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "runner.key").write_bytes(content)
    (tmp_path / "runner.key").chmod(0o600)
    with pytest.raises(ValueError, match="holds no key"):
        identity.runner_key(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_key_that_others_may_have_read_is_refused(tmp_path: Path, mode: int) -> None:
    identity.runner_key(tmp_path)
    (tmp_path / "runner.key").chmod(mode)
    with pytest.raises(ValueError, match="open to others"):
        identity.runner_key(tmp_path)


def test_a_link_in_the_keys_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x" * 32)
    (tmp_path / "runner.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        identity.runner_key(tmp_path)


@given(ids, ids, st.integers(0, 10**9), st.integers(0, 10**9))
def test_t28_no_two_sandboxes_have_the_same_token(one: str, two: str, first: int, second: int) -> None:
    key = b"k" * 32
    assert identity.token(key, one, first) == identity.token(key, one, first)
    assert (identity.token(key, one, first) == identity.token(key, two, second)) == ((one, first) == (two, second))
    assert identity.token(key, one, first) != identity.token(b"l" * 32, one, first)
    assert len(identity.token(key, one, first)) == 43


SOME = Record("one", 3, "abc", 1.5, 2.5, facts={"uid": 7})


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record.begin(tmp_path / "one", SOME)
    assert record.read(tmp_path / "one") == SOME
    record.bind(tmp_path / "one", "talk", Path("/data/talk"))
    found = record.read(tmp_path / "one")
    assert found is not None and (found.conversation, found.workspace, found.facts) == ("talk", "/data/talk", {"uid": 7})
    assert (tmp_path / "one" / "sandbox.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["sandbox.json"]
    with pytest.raises(FileExistsError):
        record.begin(tmp_path / "one", SOME)


def test_facts_are_added_to_a_record(tmp_path: Path) -> None:
    record.begin(tmp_path / "one", SOME)
    record.add(tmp_path / "one", {"pid": 5})
    found = record.read(tmp_path / "one")
    assert found is not None and found.facts == {"uid": 7, "pid": 5}
    with pytest.raises(FileNotFoundError):
        record.add(tmp_path, {})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "one"}', "null", '"one"'])
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    assert record.read(tmp_path) is None
    (tmp_path / "sandbox.json").write_text(text)
    assert record.read(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        record.bind(tmp_path, "talk", tmp_path)


def test_a_record_of_another_sandbox_or_another_version_is_none(tmp_path: Path) -> None:
    record.begin(tmp_path / "one", SOME)
    (tmp_path / "one").rename(tmp_path / "two")
    assert record.read(tmp_path / "two") is None
    file = tmp_path / "two" / "sandbox.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "id": "two", "new_in_2030": 1}))
    assert record.read(tmp_path / "two") is None
