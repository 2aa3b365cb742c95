"""What lies in Redis, and how it is written: one stream per channel, whose entries form a chain.

Every entry names the one before it (`p`). So a reader knows by itself whether anything is missing between two entries, for
whatever reason: trimmed, flushed, evicted, restored from an older copy, or given up by a publisher.

The publisher chooses the ids, so that it knows them without waiting for an answer, and may send again what was perhaps
lost: an id that is there is not added twice. Where somebody else's clock is ahead, the entry gets the next id there is, and
keeps the one it was promised (`w`). An entry without data (`d`) is a marker: a place to go on from, and nothing told.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.ports import TooOld

TELL = """
local key, topic, keep_s, most, oldest = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local place, broken, marker = ARGV[5], ARGV[6], ARGV[7]
local top = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local last = top and top[1] or ''

local function add(id, ...)
  local added = redis.pcall('XADD', key, 'MAXLEN', '~', most, id, ...)
  if type(added) ~= 'table' then return added end
  if not string.find(added.err, 'equal or smaller', 1, true) then error(added.err) end
  return nil
end

if #ARGV == 7 then
  if not top or (place ~= '' and last ~= place and #top[2] == 2) then
    last = add(marker, 'p', place) or redis.call('XADD', key, '*', 'p', place)
    redis.call('EXPIRE', key, keep_s)
    redis.call('PUBLISH', topic, last .. ',' .. place .. ',,-\\n')
  end
  return last
end

local before = last
if not top then before = place end
if broken == '1' then before = '' end
local told = {}
for i = 8, #ARGV, 2 do
  local id, data, promised = ARGV[i], ARGV[i + 1], ''
  local added = add(id, 'p', before, 'd', data)
  if not added and #redis.call('XRANGE', key, id, id) == 0 then
    promised = id
    added = add('*', 'p', before, 'd', data, 'w', id)
  end
  if added then
    told[#told + 1] = table.concat({added, before, promised, #data}, ',') .. '\\n' .. data
    before, last = added, added
  end
end
if oldest ~= '' then redis.call('XTRIM', key, 'MINID', '~', oldest) end
redis.call('EXPIRE', key, keep_s)
if #told > 0 then redis.call('PUBLISH', topic, table.concat(told)) end
return last
"""
"""Arguments: topic, seconds to keep, entries to keep, oldest id to keep or '', the publisher's last place or '', 1 when
entries before were given up, an id for a marker, then id and data of each entry. Returns the channel's last id.

Where the stream is empty, the first entry follows the publisher's last place: readers who were there have missed nothing.
Without entries a marker is made in an empty stream, or after another one's marker, so that this place is known again.
"""

TOUCH = """
local last = {}
for i, key in ipairs(KEYS) do
  local top = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  last[i] = top and top[1] or ''
  if top and ARGV[1] ~= '' then redis.call('EXPIRE', key, ARGV[1]) end
end
return last
"""
"""The last ids of streams, '' for those that are not there. Keeps them for so many seconds from now on, unless ''."""

AT_ONCE = 200
"""Channels named in one command: Redis serves others in between."""
_CURSOR = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_LARGEST = 2**64


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a stream. `data` is None in a marker."""

    id: str
    before: str
    promised: str
    data: bytes | None


def position(cursor: str) -> tuple[int, int]:
    """A cursor as numbers that can be compared. Raises `TooOld` for what is none of ours."""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise TooOld
    at = int(found[1]), int(found[2])
    if max(at) >= _LARGEST:
        raise TooOld
    return at


class Ids:
    """Ids for new entries: milliseconds since 1970, then microseconds and this process's own number.

    Never behind any id that was seen, whatever the clocks say.
    """

    def __init__(self) -> None:
        self._own = secrets.randbits(16)
        self._last = 0  # microseconds; each id takes one

    def next(self) -> str:
        self._last = max(int(time.time() * 1_000_000), self._last + 1)
        ms, us = divmod(self._last, 1000)
        return f"{ms}-{(us << 16) + self._own}"

    def seen(self, id: str) -> None:
        ms, n = position(id)
        self._last = max(self._last, ms * 1000 + min(n >> 16, 1000))


def of_message(payload: bytes) -> list[Item]:
    """What `TELL` has published: for each entry `id,before,promised,length`, a line's end, the data; `-` for a marker."""
    items: list[Item] = []
    at = 0
    while at < len(payload):
        end = payload.index(b"\n", at)
        id, before, promised, size = payload[at:end].decode().split(",")
        at = end + 1 + (0 if size == "-" else int(size))
        items.append(Item(id, before, promised, None if size == "-" else payload[end + 1 : at]))
    return items


def of_rows(rows: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Item]:
    """An answer to XRANGE."""
    return [Item(id.decode(), row.get(b"p", b"").decode(), row.get(b"w", b"").decode(), row.get(b"d")) for id, row in rows]


def after(items: Sequence[Item], at: str) -> list[Item]:
    """Those of a stream, read from `at` on, that come after it. Raises `TooOld` when something between is missing."""
    for i, item in enumerate(items):
        if at in (item.id, item.promised):
            return _chained(items[i + 1 :], item.id)
        if item.before == at:
            return _chained(items[i:], at)
    raise TooOld


def _chained(items: Sequence[Item], at: str) -> list[Item]:
    for item in items:
        if item.before != at:
            raise TooOld
        at = item.id
    return list(items)
