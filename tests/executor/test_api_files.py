"""The files of a conversation over HTTP: a real server, real connections, some of them cut."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import socket
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI

from executor.api import answers, disk
from executor.api.files import file_routes
from executor.api.uploads import PARTIAL
from executor.sandbox.base import Limits
from executor.storage.names import STAGING

MB = 1024**2
LIMITS = Limits(workspace=24 * MB, file_size=16 * MB)
HERE = "/v1/conversations/c"


@asynccontextmanager
async def serving(workspaces: Path, limits: Limits = LIMITS):
    """A server on a free port, and a client. No sandbox, no kernel, no manager."""
    app = FastAPI()
    app.include_router(file_routes(lambda conversation: workspaces / conversation, limits))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        task = asyncio.create_task(server.serve([listener]))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            yield http
        server.should_exit = True
        await task


@pytest.fixture
async def http(tmp_path):
    async with serving(tmp_path) as client:
        yield client


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "c"
    made.mkdir()
    return made


async def ask(http, method: str, path: str, **how):
    """Status, headers, and the body: JSON where it says so."""
    async with http.request(method, HERE + path, **how) as answer:
        data = await answer.read()
        return (
            answer.status,
            answer.headers,
            json.loads(data) if data and answer.content_type == "application/json" else data,
        )


async def refused(http, method: str, path: str, status: int, code: str, **how) -> dict:
    got, headers, body = await ask(http, method, path, **how)
    assert (got, body["error"]) == (status, code), body
    assert body["words"].endswith(".") and headers["X-Content-Type-Options"] == "nosniff"
    return body


async def raw(http, head: str, body: bytes = b""):
    """A connection of its own, on which everything so far has been sent."""
    host, port = http._base_url.host, http._base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(head.replace("\n", "\r\n").encode() + body)
    await writer.drain()
    return reader, writer


# ---- listing and reading ---------------------------------------------------------------------------------------------


async def test_files_are_there_without_a_kernel(http, root):
    (root / "d").mkdir()
    (root / "d" / "ü 1.txt").write_text("12345")
    status, _, body = await ask(http, "GET", "/files?path=d")
    assert status == 200 and body["path"] == "d" and body["skipped"] == 0 and body["cursor"] is None
    assert [(e["name"], e["kind"], e["size"]) for e in body["entries"]] == [("ü 1.txt", "file", 5)]
    status, headers, data = await ask(http, "GET", "/file?path=" + quote("d/ü 1.txt"))
    assert (status, data) == (200, b"12345")


async def test_a_conversation_without_files_has_an_empty_list(http):
    status, _, body = await ask(http, "GET", "/files")
    assert status == 200 and body["entries"] == [] and body["complete"]
    await refused(http, "GET", "/file?path=a", 404, "not_found")
    await refused(http, "DELETE", "/file?path=a", 404, "not_found")


async def test_pages_go_on_with_their_cursor(http, root):
    for number in range(7):
        (root / f"&f {number}+").touch()
    seen, cursor = [], ""
    while cursor is not None:
        _, _, body = await ask(http, "GET", "/files?limit=3&cursor=" + quote(cursor))
        seen += [entry["name"] for entry in body["entries"]]
        cursor = body["cursor"]
    assert seen == [f"&f {number}+" for number in range(7)]
    await refused(http, "GET", "/files?limit=0", 400, "bad_request")
    await refused(http, "GET", "/files?limit=100000", 400, "bad_request")


async def test_nothing_that_a_file_holds_becomes_part_of_a_page(http, root):
    name = 'a"b\\;é%.html'
    (root / name).write_text("<script>")
    _, headers, _ = await ask(http, "GET", "/file?path=" + quote(name))
    assert headers["Content-Type"] == "application/octet-stream" and headers["Content-Security-Policy"] == "sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"
    plain, spelled = re.fullmatch(
        r"attachment; filename=\"([^\"\\]*)\"; filename\*=UTF-8''(\S+)", headers["Content-Disposition"]
    ).groups()
    assert unquote(spelled) == name and plain == "a_b_;__.html"
    _, headers, _ = await ask(http, "GET", f"/file?path={quote(name)}&type=" + quote("text/plain; charset=utf-8"))
    assert headers["Content-Type"] == "text/plain; charset=utf-8" and headers["Content-Disposition"].startswith(
        "attachment"
    )
    for wrong in ("text", "text/html\r\nX: y", "a/b; c=d", "*/*"):
        await refused(http, "GET", f"/file?path={quote(name)}&type={quote(wrong)}", 400, "bad_request")


async def test_ranges_and_conditions(http, root):
    data = os.urandom(MB)
    (root / "f").write_bytes(data)
    _, headers, body = await ask(http, "GET", "/file?path=f")
    etag = headers["ETag"]
    assert body == data and headers["Accept-Ranges"] == "bytes"
    for asked, expected in (("0-0", data[:1]), ("5-", data[5:]), ("-7", data[-7:]), ("600000-700000", data[600000:700001])):
        status, headers, body = await ask(http, "GET", "/file?path=f", headers={"Range": f"bytes={asked}"})
        start = len(data) - 7 if asked == "-7" else int(asked.split("-")[0])
        assert (status, body) == (206, expected)
        assert headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{MB}"
    body = await refused(http, "GET", "/file?path=f", 416, "range_unsatisfiable", headers={"Range": f"bytes={MB}-"})
    _, headers, _ = await ask(http, "GET", "/file?path=f", headers={"Range": f"bytes={MB}-"})
    assert headers["Content-Range"] == f"bytes */{MB}"
    status, _, body = await ask(http, "GET", "/file?path=f", headers={"Range": "bytes=0-1,5-6"})
    assert (status, len(body)) == (200, MB)
    for condition, status in ((etag, 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        got, _, _ = await ask(http, "GET", "/file?path=f", headers={"Range": "bytes=0-0", "If-Range": condition})
        assert got == status
    for condition, status in ((etag, 304), (f'"x", W/{etag}', 304), ('"other"', 200)):
        got, _, _ = await ask(http, "GET", "/file?path=f", headers={"If-None-Match": condition})
        assert got == status
    status, headers, body = await ask(http, "HEAD", "/file?path=f")
    assert (status, headers["Content-Length"], headers["ETag"], body) == (200, str(MB), etag, b"")


async def test_an_empty_file_is_read(http, root):
    (root / "f").touch()
    assert (await ask(http, "GET", "/file?path=f"))[2] == b""


async def test_t7_what_must_not_be_read_is_refused_over_http(http, root):
    (root.parent / "secret").write_text("secret")
    (root / "link").symlink_to(root.parent / "secret")
    os.mkfifo(root / "fifo")
    os.link(root.parent / "secret", root / "linked")
    (root / "dir").mkdir()
    await refused(http, "GET", "/file?path=link", 409, "not_a_directory")
    for name in ("fifo", "linked", "dir"):
        await refused(http, "GET", f"/file?path={name}", 409, "not_a_file")
    for path in ("../secret", "/etc/passwd", "a/../../secret", "", "dir/", "a%00b", "a%0Ab", "%E2%80%AEx", STAGING):
        await refused(http, "GET", f"/file?path={path}", 400, "bad_path")
    for conversation in ("..", "%2e%2e", "a%2Fb", "x" * 65):
        async with http.get(f"/v1/conversations/{conversation}/file?path=secret") as answer:
            assert answer.status in (400, 404) and b"secret" not in (await answer.read()).replace(b"path=secret", b"")


async def test_a_file_that_shrinks_while_it_is_read_is_not_taken_for_whole(http, root):
    (root / "f").write_bytes(b"x" * 16 * MB)
    with pytest.raises(aiohttp.ClientPayloadError):
        async with http.get(HERE + "/file?path=f") as answer:
            assert answer.status == 200
            await answer.content.readexactly(MB)
            os.truncate(root / "f", 2 * MB)
            await answer.read()
    assert (await ask(http, "GET", "/file?path=f"))[2] == b"x" * 2 * MB


async def test_a_file_that_grows_or_is_replaced_while_it_is_read_comes_as_it_was(http, root):
    (root / "f").write_bytes(b"x" * 16 * MB)
    async with http.get(HERE + "/file?path=f") as answer:
        first = await answer.content.readexactly(MB)
        with (root / "f").open("ab") as file:
            file.write(b"more")
        (root / "f").rename(root / "g")
        (root / "f").write_text("another")
        assert first + await answer.read() == b"x" * 16 * MB


async def test_readers_who_leave_leave_nothing_open(http, root):
    (root / "f").write_bytes(b"x" * 16 * MB)
    for _ in range(disk.AT_ONCE + 5):  # more than may be answered at once: each must have been let go of
        answer = await http.get(HERE + "/file?path=f")
        await answer.content.readexactly(10)
        answer.close()
    async with asyncio.timeout(20):
        while any(os.path.realpath(f"/proc/self/fd/{fd}") == str(root / "f") for fd in os.listdir("/proc/self/fd")):  # noqa: PTH208
            await asyncio.sleep(0.05)
    assert (await ask(http, "HEAD", "/file?path=f"))[0] == 200


async def test_too_much_at_once_is_refused_with_a_time_to_come_back(tmp_path, root, monkeypatch):
    monkeypatch.setattr(disk, "AT_ONCE", 2)
    monkeypatch.setattr(disk, "WAIT_S", 0.2)
    (root / "f").write_bytes(b"x" * 16 * MB)
    async with serving(tmp_path) as http:
        held = [await http.get(HERE + "/file?path=f") for _ in range(2)]
        body = await refused(http, "GET", "/files", 503, "busy")
        assert "again" in body["words"]
        status, headers, _ = await ask(http, "GET", "/files")
        assert headers["Retry-After"] == "1"
        for answer in held:
            answer.close()
        async with asyncio.timeout(20):
            while (await ask(http, "GET", "/files"))[0] == 503:
                await asyncio.sleep(0.05)


async def test_a_reader_who_stops_reading_is_let_go_of(tmp_path, root, monkeypatch):
    monkeypatch.setattr(answers, "STALL_S", 0.3)
    (root / "f").write_bytes(b"x" * 16 * MB)
    async with serving(tmp_path) as http:
        reader, writer = await raw(http, f"GET {HERE}/file?path=f HTTP/1.1\nHost: x\n\n")
        reader._transport.pause_reading()
        async with asyncio.timeout(20):
            while any(os.path.realpath(f"/proc/self/fd/{fd}") == str(root / "f") for fd in os.listdir("/proc/self/fd")):  # noqa: PTH208
                await asyncio.sleep(0.05)
        writer.close()


# ---- writing ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_written_and_replaced(http, root):
    data = os.urandom(3 * MB)
    status, _, body = await ask(http, "PUT", "/file?path=f", data=data)
    assert (status, body) == (201, {"path": "f", "size": 3 * MB}) and (root / "f").read_bytes() == data
    status, _, body = await ask(http, "PUT", "/file?path=f", data=b"new")
    assert status == 200 and (root / "f").read_bytes() == b"new"
    await refused(http, "PUT", "/file?path=f&replace=false", 409, "occupied", data=b"x")
    await refused(http, "PUT", "/file?path=a/b/f", 404, "not_found", data=b"x")
    assert (await ask(http, "PUT", "/file?path=a/b/f&parents=true", data=b""))[0] == 201
    assert (root / "a" / "b" / "f").read_bytes() == b"" and not any((root / STAGING).iterdir())


async def test_a_body_without_a_length_is_written_too(http, root):
    async def pieces():
        for _ in range(100):
            yield b"x" * 10_000

    assert (await ask(http, "PUT", "/file?path=f", data=pieces()))[0] == 201
    assert (root / "f").stat().st_size == 1_000_000


async def test_an_upload_that_breaks_off_leaves_nothing(http, root):
    (root / "f").write_text("old")
    _, writer = await raw(http, f"PUT {HERE}/file?path=f HTTP/1.1\nHost: x\nContent-Length: {8 * MB}\n\n", b"x" * 2 * MB)
    writer.close()
    async with asyncio.timeout(20):
        while not (root / STAGING).exists() or any((root / STAGING).iterdir()):
            await asyncio.sleep(0.05)
    assert (root / "f").read_text() == "old"


async def test_sizes_and_room_have_limits_with_words(http, root):
    body = await refused(http, "PUT", "/file?path=f", 413, "too_large", data=b"x" * (16 * MB + 1))
    assert "16 MiB" in body["words"] and body["limit"] == 16 * MB
    (root / "g").write_bytes(b"x" * 20 * MB)
    body = await refused(http, "PUT", "/file?path=f", 507, "workspace_full", data=b"x" * 8 * MB)
    assert "24 MiB" in body["words"] and "Delete" in body["words"]

    async def pieces():
        for _ in range(80):
            yield b"x" * 100_000

    await refused(http, "PUT", "/file?path=f", 507, "workspace_full", data=pieces())
    assert (await ask(http, "DELETE", "/file?path=g"))[0] == 204
    assert (await ask(http, "PUT", "/file?path=f", data=pieces()))[0] == 201


# ---- uploads that survive a broken connection ------------------------------------------------------------------------


async def begun(http, path: str = "f", first: bytes = b"", **headers: str) -> str:
    async with http.put(f"{HERE}/file?path={path}", data=first, headers={"Upload-Complete": "?0", **headers}) as answer:
        assert answer.status == 201 and answer.headers["Upload-Offset"] == str(len(first))
        assert f"max-size={16 * MB}" in answer.headers["Upload-Limit"] and answer.headers["Upload-Complete"] == "?0"
        return answer.headers["Location"].removeprefix(HERE)


def append(offset: int, complete: bool) -> dict[str, str]:
    return {"Content-Type": PARTIAL, "Upload-Offset": str(offset), "Upload-Complete": f"?{int(complete)}"}


async def offset_of(http, there: str) -> int:
    status, headers, _ = await ask(http, "HEAD", there)
    assert status == 204 and headers["Cache-Control"] == "no-store" and headers["Upload-Complete"] == "?0"
    return int(headers["Upload-Offset"])


async def test_an_upload_goes_on_after_its_connection_was_cut(http, root):
    data = os.urandom(5 * MB)
    there = await begun(http, first=data[:1000])
    head = f"PATCH {HERE}{there} HTTP/1.1\nHost: x\n" + "".join(f"{k}: {v}\n" for k, v in append(1000, True).items())
    _, writer = await raw(http, f"{head}Content-Length: {len(data) - 1000}\n\n", data[1000 : 3 * MB])
    writer.transport.abort()
    arrived = await offset_of(http, there)
    assert 1000 <= arrived <= 3 * MB and not (root / "f").exists()
    assert await offset_of(http, there) == arrived
    status, headers, body = await ask(http, "PATCH", there, data=data[arrived:], headers=append(arrived, True))
    assert (status, body["size"], headers["Upload-Complete"]) == (201, 5 * MB, "?1")
    assert (root / "f").read_bytes() == data
    await refused(http, "PATCH", there, 404, "not_found", data=b"x", headers=append(5 * MB, True))


async def test_the_newcomer_ends_a_request_that_hangs(http, root):
    """The old connection is still open, and silent: as after a change of networks."""
    there = await begun(http)
    head = f"PATCH {HERE}{there} HTTP/1.1\nHost: x\n" + "".join(f"{k}: {v}\n" for k, v in append(0, True).items())
    reader, writer = await raw(http, f"{head}Content-Length: 1000\n\n", b"x" * 300)
    async with asyncio.timeout(20):
        while (arrived := await offset_of(http, there)) == 0:
            reader, writer = await raw(http, f"{head}Content-Length: 1000\n\n", b"x" * 300)
        assert arrived == 300
        assert b"409" in await reader.readline()
    writer.close()
    status, _, _ = await ask(http, "PATCH", there, data=b"y" * 700, headers=append(300, True))
    assert status == 201 and (root / "f").read_bytes() == b"x" * 300 + b"y" * 700


async def test_a_part_at_another_place_is_refused_with_the_right_one(http, root):
    there = await begun(http, first=b"12345")
    for offset in (0, 4, 6):
        body = await refused(http, "PATCH", there, 409, "wrong_offset", data=b"x", headers=append(offset, False))
        assert body["offset"] == 5
    _, headers, _ = await ask(http, "PATCH", there, data=b"x", headers=append(0, False))
    assert headers["Upload-Offset"] == "5"
    status, headers, _ = await ask(http, "PATCH", there, data=b"67", headers=append(5, False))
    assert status == 204 and headers["Upload-Offset"] == "7" and headers["Upload-Complete"] == "?0"
    status, _, _ = await ask(http, "PATCH", there, headers=append(7, True))
    assert status == 201 and (root / "f").read_bytes() == b"1234567"


async def test_a_length_that_was_announced_is_kept(http, root):
    there = await begun(http, first=b"12", **{"Upload-Length": "5"})
    assert (await ask(http, "HEAD", there))[1]["Upload-Length"] == "5"
    await refused(http, "PATCH", there, 400, "bad_request", data=b"3456", headers=append(2, False))
    await refused(http, "PATCH", there, 400, "bad_request", data=b"34", headers=append(2, True))
    assert await offset_of(http, there) == 4
    assert (await ask(http, "PATCH", there, data=b"5", headers=append(4, True)))[0] == 201
    assert (root / "f").read_bytes() == b"12345"


async def test_an_upload_is_given_up(http, root):
    there = await begun(http, first=b"12")
    for _ in range(2):
        assert (await ask(http, "DELETE", there))[0] == 204
    assert (await ask(http, "HEAD", there))[0] == 404
    assert not any((root / STAGING).iterdir())


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Upload-Offset": None}, 400),
        ({"Upload-Complete": None}, 400),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "1e3"}, 400),
        ({"Upload-Offset": "9" * 30}, 400),
        ({"Upload-Complete": "true"}, 400),
    ],
)
async def test_a_malformed_part_is_refused(http, root, change, status):
    there = await begun(http)
    headers = {name: value for name, value in (append(0, True) | change).items() if value is not None}
    got, _, body = await ask(http, "PATCH", there, data=b"x", headers=headers)
    assert got == status and body["words"]
    assert await offset_of(http, there) == 0


async def test_t7_an_upload_names_no_file_of_the_workspace(http, root):
    (root / "f").write_text("x")
    await begun(http)
    for id in ("..", "%2e%2e%2ff", "f", "0" * 32, "..%2F..%2Fetc%2Fpasswd"):
        status, _, _ = await ask(http, "HEAD", f"/uploads/{id}?path=g")
        assert status == 404
        assert (await ask(http, "PATCH", f"/uploads/{id}?path=g", data=b"y", headers=append(1, True)))[0] == 404
    there = await begun(http)
    other = there.replace("path=f", "path=..%2Fg")
    await refused(http, "PATCH", other, 400, "bad_path", headers=append(0, True))


# ---- changing --------------------------------------------------------------------------------------------------------


async def test_folders_moves_and_removals(http, root):
    assert (await ask(http, "PUT", "/folder?path=a"))[0] == 201
    assert (await ask(http, "PUT", "/folder?path=a"))[0] == 200
    await refused(http, "PUT", "/folder?path=b/c", 404, "not_found")
    assert (await ask(http, "PUT", "/folder?path=b/c&parents=true"))[0] == 201
    (root / "f").write_text("f")
    assert (await ask(http, "POST", "/move", json={"from": "f", "to": "b/c/g"}))[0] == 200
    await refused(http, "POST", "/move", 404, "not_found", json={"from": "f", "to": "x"})
    await refused(http, "POST", "/move", 409, "occupied", json={"from": "a", "to": "b"})
    for wrong in ({"from": "../f", "to": "x"}, {"from": "f", "to": "/x"}):
        await refused(http, "POST", "/move", 400, "bad_path", json=wrong)
    for wrong in (b"{}", b"", b"[" * 1000, b'{"from": "a", "to": "b", "more": 1}', b"\xff"):
        await refused(http, "POST", "/move", 400, "bad_request", data=wrong)
    await refused(http, "POST", "/move", 413, "too_large", data=b" " * 2 * MB)
    assert (await ask(http, "DELETE", "/file?path=b"))[0] == 204
    await refused(http, "DELETE", "/file?path=b", 404, "not_found")
    await refused(http, "DELETE", "/file?path=", 400, "bad_path")
    assert [path.name for path in root.iterdir() if path.name != STAGING] == ["a"]


# ---- zip files -------------------------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return held.getvalue()


async def test_many_files_are_one_zip_file(http, root):
    (root / "d").mkdir()
    (root / "d" / "a").write_bytes(os.urandom(2 * MB))
    (root / "d" / "link").symlink_to("/etc/passwd")
    (root / "b").write_text("b")
    status, headers, data = await ask(http, "POST", "/archive", json={"paths": ["d", "b"], "name": "all.zip"})
    assert status == 200 and headers["Files-Left-Out"] == "1" and 'filename="all.zip"' in headers["Content-Disposition"]
    made = zipfile.ZipFile(io.BytesIO(data))
    assert made.testzip() is None and sorted(made.namelist()) == ["b", "d/", "d/a"]
    await refused(http, "POST", "/archive", 404, "not_found", json={"paths": ["none"]})
    await refused(http, "POST", "/archive", 400, "bad_path", json={"paths": ["../x"]})
    await refused(http, "POST", "/archive", 400, "bad_request", json={"paths": []})


async def test_an_archive_that_cannot_be_ended_is_not_taken_for_whole(http, root):
    for number in range(12):
        (root / f"f{number:02}").write_bytes(os.urandom(MB))
    with pytest.raises(aiohttp.ClientPayloadError):
        async with http.post(HERE + "/archive", json={"paths": [f"f{number:02}" for number in range(12)]}) as answer:
            await answer.content.readexactly(100_000)
            (root / "f11").unlink()
            await answer.read()


async def test_t34_a_zip_file_is_imported_or_refused_with_a_report(http, root):
    status, _, body = await ask(http, "POST", "/import?path=in", data=zipped({"a/b": b"1", "c": b"2"}))
    assert status == 200 and (body["files"], body["bytes"], body["refused"]) == (2, 2, [])
    assert (root / "in" / "a" / "b").read_bytes() == b"1"
    await refused(http, "POST", "/import?path=in", 409, "occupied", data=zipped({"c": b"3"}))
    assert (await ask(http, "POST", "/import?path=in&replace=true", data=zipped({"c": b"3"})))[0] == 200
    evil = zipped({"good": b"x", "../evil": b"x"})
    body = await refused(http, "POST", "/import", 422, "bad_archive", data=evil)
    assert body["report"]["refused"] == [
        {"name": "../evil", "reason": "parent", "words": "it leads out of the folder with `..`"}
    ]
    assert not (root / "good").exists()
    status, _, body = await ask(http, "POST", "/import?partial=true", data=evil)
    assert status == 200 and body["refused_count"] == 1 and (root / "good").exists()
    await refused(http, "POST", "/import", 422, "bad_archive", data=b"no zip")
    await refused(http, "POST", "/import?path=../x", 400, "bad_path", data=evil)
    await refused(http, "POST", "/import", 507, "workspace_full", data=zipped({"f": os.urandom(15 * MB)}))
    assert not (root.parent / "evil").exists()
    async with asyncio.timeout(20):  # what was on its way goes after the answer
        while any((root / STAGING).iterdir()):
            await asyncio.sleep(0.01)


async def test_a_zip_file_in_the_workspace_is_imported_from_there(http, root):
    (root / "in.zip").write_bytes(zipped({"a": b"1"}))
    assert (await ask(http, "POST", "/import?path=out&source=in.zip"))[0] == 200
    assert (root / "out" / "a").read_bytes() == b"1" and (root / "in.zip").exists()
    (root / "link.zip").symlink_to("in.zip")
    await refused(http, "POST", "/import?source=link.zip", 409, "not_a_directory")
