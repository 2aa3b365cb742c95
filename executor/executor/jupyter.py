"""Jupyter messages, as bytes and as our events. Pure: no sockets, no clock.

Every message comes from a process that the tenant controls, so nothing in it is believed: sizes, types, nesting and text
are checked here, once, and whatever does not fit is dropped (`None`) instead of raised.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import orjson

from executor.wire import Clear, Display, Raised, Stream

V1 = "v1.kernel.websocket.jupyter.org"
"""The websocket subprotocol whose frames are `count, offsets…, channel, header, parent, metadata, content, buffers…`."""

MAX_PARTS = 64
MAX_NESTING = 48  # of JSON inside a mime bundle; pydantic and browsers give up far later
MAX_MIME_TYPES = 64
MAX_ERROR_CHARS = 256 * 1024  # of one traceback
MAX_LEFT_OUT = 2**40
MAX_ID = 200  # characters of a message's id
MAX_VALUES = 500_000  # in the JSON of one message other than text
QUOTES, BACKSLASHES = 512, 64  # looked at, when strings are left out of that count
LARGE = 512 * 1024  # bytes of content below which values are not counted
VERSION = "5.4"

Output = Stream | Display | Clear | Raised
Channel = Literal["iopub", "shell", "control", "stdin"]
FIELDS = ("channel", "header", "parent_header", "metadata", "content")
_CHANNELS: dict[str, Channel] = {"iopub": "iopub", "shell": "shell", "control": "control", "stdin": "stdin"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a kernel. `parent` is the id of the request that caused it, or empty. `size`: bytes of its frame;
    `left_out`: bytes that the gateway took out, because they were too many for a frame; `id`: what a reply to the message
    names it by, or empty."""

    channel: Channel
    kind: str
    parent: str
    content: dict[str, Any]
    size: int
    left_out: int = 0
    id: str = ""


# ---- bytes → Message -------------------------------------------------------------------------------------------------


def decode(frame: bytes | str) -> Message | None:
    """A frame of either framing; None when it is not a message."""
    try:
        return _decode_v1(frame) if isinstance(frame, bytes) else _decode_json(frame)
    except (ValueError, RecursionError, struct.error):
        return None


def _decode_v1(frame: bytes) -> Message | None:
    view = memoryview(frame)
    (count,) = struct.unpack_from("<Q", view)
    if not 6 <= count <= MAX_PARTS:
        return None
    offsets = struct.unpack_from(f"<{count}Q", view, 8)
    if offsets[-1] > len(view) or any(a > b for a, b in pairwise(offsets)):
        return None
    channel, header, parent, metadata, content = (view[a:b] for a, b in pairwise(offsets[:6]))
    about = loads(header)
    if len(content) > LARGE and _crowded(bytes(content)) and not _is_text(about):
        return _message(str(channel, "ascii"), about, loads(parent), {"left_out": len(frame)}, {}, len(frame))
    return _message(str(channel, "ascii"), about, loads(parent), loads(metadata), loads(content), len(frame))


def _crowded(content: bytes) -> bool:
    """Whether JSON has so many values that as objects it would take many times its size. Looked at before it is parsed."""
    if _outside_strings(content) <= MAX_VALUES:
        return False
    return content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_VALUES


def _outside_strings(content: bytes) -> int:
    """Bytes that are not in one of the first strings: no more values than that can be there. An image is one long string,
    and to find its end costs a tenth of counting in it."""
    start, inside, at = -1, 0, -1
    for _ in range(QUOTES):
        at = content.find(b'"', at + 1)
        if at < 0:
            break
        if start < 0:
            start = at
            continue
        before = content[max(start + 1, at - BACKSLASHES) : at]
        slashes = len(before) - len(before.rstrip(b"\\"))
        if slashes == BACKSLASHES:
            break  # whether this quote ends the string would take long to say
        if slashes % 2 == 0:
            inside += at - start
            start = -1
    return len(content) - inside


def _is_text(header: object) -> bool:
    return isinstance(header, dict) and header.get("msg_type") == "stream"


def _decode_json(frame: str) -> Message | None:
    whole = loads(frame.encode("utf-8", "replace"))
    if not isinstance(whole, dict):
        return None
    channel, header, parent, metadata, content = (whole.get(name) for name in FIELDS)
    return _message(channel, header, parent, metadata, content, len(frame))


def _message(
    channel: object, header: object, parent: object, metadata: object, content: object, size: int
) -> Message | None:
    if not (isinstance(channel, str) and isinstance(header, dict) and isinstance(content, dict)):
        return None
    known, kind = _CHANNELS.get(channel), header.get("msg_type")
    if known is None or not isinstance(kind, str):
        return None
    origin = parent.get("msg_id") if isinstance(parent, dict) else None
    left_out = metadata.get("left_out") if isinstance(metadata, dict) else None
    if type(left_out) is not int or not 0 < left_out < MAX_LEFT_OUT:
        left_out = 0
    id = header.get("msg_id")
    id = id if isinstance(id, str) and len(id) <= MAX_ID else ""
    return Message(known, kind, origin if isinstance(origin, str) else "", content, size, left_out, id)


def loads(data: bytes | memoryview) -> Any:
    """JSON as kernels write it: NaN becomes null, bytes that are no UTF-8 and lone surrogates become U+FFFD or `?`."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        lenient = json.loads(bytes(data).decode("utf-8", "replace"), parse_constant=lambda _: None)
        return orjson.loads(json.dumps(lenient, ensure_ascii=False).encode("utf-8", "replace"))


# ---- requests → bytes ------------------------------------------------------------------------------------------------


def request(
    kind: str, content: dict[str, Any], id: str, session: str, channel: Channel = "shell", parent: str = ""
) -> bytes:
    """A request as one V1 frame; with `parent` a reply to the message of that id."""
    header = {"msg_id": id, "msg_type": kind, "session": session, "username": "", "date": "", "version": VERSION}
    about = orjson.dumps({"msg_id": parent} if parent else {})
    parts = [channel.encode(), orjson.dumps(header), about, b"{}", orjson.dumps(content)]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def execute_content(code: str, allow_stdin: bool = False) -> dict[str, Any]:
    """What an execute_request holds. Where input is not allowed, a cell that asks for it gets an error at once."""
    return {
        "code": code.encode("utf-8", "replace").decode(),
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": allow_stdin,
        "stop_on_error": False,
    }


# ---- Message → event -------------------------------------------------------------------------------------------------


def output(message: Message, late: bool = False) -> Output | None:
    """What a message shows to the user; None when it shows nothing or is not well formed."""
    content = message.content
    match message.kind:
        case "stream":
            return _stream(content, late)
        case "display_data" | "execute_result":
            return _display(content, update=False)
        case "update_display_data":
            return _display(content, update=True)
        case "clear_output":
            return Clear(wait=content.get("wait") is True)
        case "error":
            return _raised(content)
    return None


def size_of(event: Output, message: Message) -> int:
    """Bytes of output that an event carries: exact for text, about the frame's length for everything else."""
    if isinstance(event, Stream):
        return utf8_length(event.text)
    if isinstance(event, Raised):
        return sum(map(utf8_length, (event.ename, event.evalue, *event.traceback)))
    return message.size


def utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _stream(content: dict[str, Any], late: bool) -> Stream | None:
    name, text = content.get("name"), content.get("text")
    if name not in ("stdout", "stderr") or not isinstance(text, str) or not text:
        return None
    return Stream.model_construct(name=name, text=text, late=late)


def _display(content: dict[str, Any], update: bool) -> Display | None:
    data, metadata, transient = content.get("data"), content.get("metadata"), content.get("transient")
    if not isinstance(data, dict) or len(data) > MAX_MIME_TYPES:
        return None
    data = {kind: value for kind, value in data.items() if value is not None and shallow(value)}
    id = transient.get("display_id") if isinstance(transient, dict) else None
    metadata = metadata if isinstance(metadata, dict) and shallow(metadata) else {}
    return Display(data=data, metadata=metadata, display_id=id if isinstance(id, str) else None, update=update)


def _raised(content: dict[str, Any]) -> Raised:
    ename, evalue, traceback = (content.get(key) for key in ("ename", "evalue", "traceback"))
    lines = [line for line in traceback if isinstance(line, str)] if isinstance(traceback, list) else []
    return Raised(ename=_clip(ename, 200), evalue=_clip(evalue, MAX_ERROR_CHARS // 4), traceback=_clip_lines(lines))


def _clip(value: object, limit: int) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"


def _clip_lines(lines: list[str]) -> list[str]:
    if len(lines) <= 1000 and sum(map(len, lines)) <= MAX_ERROR_CHARS:
        return lines
    return [_clip("\n".join(lines), MAX_ERROR_CHARS)]


def shallow(value: object) -> bool:
    """Whether JSON is nested less than MAX_NESTING deep. Looks level by level, so depth costs no stack."""
    level: list[object] = [value]
    for _ in range(MAX_NESTING):
        level = [child for node in level for child in _children(node)]
        if not level:
            return True
    return False


def _children(node: object) -> list[object]:
    """The containers directly inside `node`."""
    if isinstance(node, dict):
        return [child for child in node.values() if isinstance(child, dict | list)]
    if isinstance(node, list):
        return [child for child in node if isinstance(child, dict | list)]
    return []
