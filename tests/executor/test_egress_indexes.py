"""The package indexes of this machine's pip: what a sandbox is told of them, and what it must never be told."""

import configparser
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from executor.egress import beside
from executor.egress.configured import allowed, make_egress
from executor.egress.indexes import Indexes, entries_for, indexes, pip_files, pip_settings
from executor.settings import Settings

SECRET = "hunter2"


def hosts(found: Indexes) -> list[str]:
    return [str(entry) for entry in entries_for(found.urls)]


@pytest.mark.parametrize(
    ("settings", "urls", "allowed_hosts"),
    [
        ({}, ["https://pypi.org/simple"], ["pypi.org", "files.pythonhosted.org"]),
        ({"index-url": "https://mirror.corp/simple"}, ["https://mirror.corp/simple"], ["mirror.corp"]),
        ({"index-url": "https://mirror.corp:8443/s"}, ["https://mirror.corp:8443/s"], ["mirror.corp:8443"]),
        ({"index-url": "https://mirror.corp:443/s"}, ["https://mirror.corp:443/s"], ["mirror.corp"]),
        ({"index-url": "http://mirror.corp/s"}, ["http://mirror.corp/s"], ["mirror.corp:80"]),
        (
            {
                "extra-index-url": "\nhttps://a.corp/s\n https://pypi.org/simple https://a.corp/t",
                "find-links": "https://w.corp/",
            },
            [
                "https://pypi.org/simple",
                "https://a.corp/s",
                "https://pypi.org/simple",
                "https://a.corp/t",
                "https://w.corp/",
            ],
            ["pypi.org", "a.corp", "w.corp", "files.pythonhosted.org"],
        ),
        ({"no-index": "true", "find-links": "https://w.corp/"}, ["https://w.corp/"], ["w.corp"]),
        ({"no-index": "1"}, [], []),
        ({"index-url": "file:///srv/pypi"}, [], []),
        ({"index-url": "/srv/pypi", "extra-index-url": "https://a.corp/s"}, ["https://a.corp/s"], ["a.corp"]),
        ({"index-url": f"https://me:{SECRET}@a.corp/s"}, [], []),
        (
            {"index-url": f"https://{SECRET}@a.corp/s", "extra-index-url": "https://b.corp/"},
            ["https://b.corp/"],
            ["b.corp"],
        ),
        ({"index-url": "https://a.corp:port/s"}, [], []),
        ({"index-url": "https://[::1/s"}, [], []),
    ],
)
def test_what_a_sandbox_is_told(settings: dict[str, str], urls: list[str], allowed_hosts: list[str]) -> None:
    found = indexes(settings)
    assert list(found.urls) == urls and hosts(found) == allowed_hosts
    text = beside.pip_conf(found)
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    told = dict(parser.items("global"))
    assert told.get("index-url") == found.index and (told.get("no-index") == "true") == (found.index is None)
    assert told.get("extra-index-url", "").split() == list(found.extra)
    assert SECRET not in text and SECRET not in " ".join(found.left_out)
    assert bool(found.notice) == (urls == [])


def test_what_is_left_out_is_told_to_the_operator() -> None:
    settings = {"index-url": f"https://me:{SECRET}@a.corp/s", "extra-index-url": "file:///srv/x", "find-links": "/srv/w"}
    assert [words.partition(":")[0] for words in indexes(settings).left_out] == [
        "find-links",
        "index-url",
        "extra-index-url",
    ]
    assert "the address of a.corp holds a password" in " ".join(indexes(settings).left_out)


def test_settings_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared.conf", tmp_path / "own.conf"
    shared.write_text("[global]\nindex-url = https://shared.corp/100%\nindex_url = https://underscore.corp\ntimeout = 3\n")
    own.write_text("[install]\nindex-url = https://install.corp\n[global]\nindex-url = https://own.corp\n[list]\nx = y\n")
    (tmp_path / "broken.conf").write_text("no section\n")
    files = [tmp_path / "missing.conf", shared, tmp_path / "broken.conf", own]
    found = pip_settings({}, files)
    assert found["index-url"] == "https://install.corp" and found["timeout"] == "3" and "x" not in found
    found = pip_settings({"PIP_INDEX_URL": "https://environment.corp", "PIP_EXTRA_INDEX_URL": ""}, files)
    assert found["index-url"] == "https://environment.corp" and "extra-index-url" not in found


def test_the_same_files_as_pips_own(tmp_path: Path) -> None:
    """Asked of the pip that is here."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": str(tmp_path / "named.conf")}
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "debug"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    for file in pip_files(environment):
        assert file.name == "named.conf" or file.parent == Path(sys.prefix) or str(file) in asked, file
    assert pip_files({"PIP_CONFIG_FILE": os.devnull}) == []


def test_the_operators_list_may_name_the_indexes_among_others() -> None:
    known = entries_for(("https://pypi.org/simple",))
    assert allowed("", known) == known
    assert [str(entry) for entry in allowed("example.com, indexes", known)] == [
        *("pypi.org", "files.pythonhosted.org", "example.com")
    ]
    assert [str(entry) for entry in allowed("example.com", known)] == ["example.com"]
    with pytest.raises(ValueError, match=r"https://example\.com"):
        allowed("https://example.com", known)


def test_it_can_be_made_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"https://me:{SECRET}@a.corp/s")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.corp/s")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    egress = make_egress(Settings(egress_allow="indexes,x.corp:8080", egress_private="b.corp"))
    assert [str(entry) for entry in egress.rules.allowed] == ["b.corp", "x.corp:8080"]
    assert "holds a password" in str(egress.left_out) and SECRET not in str(egress.left_out)


@pytest.mark.parametrize("name", ["egress_allow", "egress_private"])
def test_a_list_that_cannot_be_read_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(ValueError, match=r"'https://x\.corp': .* write host, \*\.host or host:port"):
        Settings(**{name: "pypi.org, https://x.corp"})


def test_certificates_alone_are_handed_on(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    certificate = "-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n"
    key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    bundle.write_text(f"# mine\n{certificate}{key}{certificate}")
    assert beside.authorities({"cert": str(bundle)}, {}) == (certificate * 2).encode()
    assert beside.authorities({}, {"SSL_CERT_FILE": str(bundle)}) == (certificate * 2).encode()
    assert b"PRIVATE" not in beside.authorities({"cert": str(tmp_path / "missing")}, {})


def test_the_directory_is_freshened_and_swept(tmp_path: Path) -> None:
    path = beside.place(tmp_path, "one")
    beside.lay_out(path.parent, beside.contents(Indexes(None), b"cert"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["ca.pem", "notice", "pip.conf"]
    before = path.parent.stat().st_ino
    beside.lay_out(path.parent, beside.contents(Indexes("https://pypi.org/simple"), b""))
    assert [file.name for file in path.parent.iterdir()] == ["pip.conf"] and path.parent.stat().st_ino == before
    assert stat.S_IMODE((path.parent / "pip.conf").stat().st_mode) == 0o444
    beside.lay_out(beside.place(tmp_path, "two").parent, beside.contents(Indexes(None), b""))
    beside.sweep(tmp_path, {"two"})
    assert [directory.name for directory in (tmp_path / "egress").iterdir()] == ["two"]
    beside.sweep(tmp_path / "nowhere", ())
