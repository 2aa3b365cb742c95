"""A cell's outputs, normalised while they arrive and bounded in size.

The head of the text is told live; what comes after it goes into a tail of the same size, of which only the end is kept, and
which is told when the cell is done, behind a mark that counts what was left out between. So neither the reader, nor the
store, nor our memory ever gets more than a bounded amount, whatever a cell prints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from executor.wire import Clear, Display, Raised, Stream
from orchestrator.agent.clipping import clip
from orchestrator.agent.rope import Rope
from orchestrator.agent.terminal import Screen, harmless, plain
from orchestrator.protocol.outputs import (
    ErrorOutput,
    OmittedOutput,
    Output,
    OutputOp,
    Put,
    RichOutput,
    TextOutput,
    Wipe,
    Write,
    apply_ops,
)

__all__ = ["Collector", "apply_ops", "merge"]

TEXT_LIMIT = 256_000
"""Characters of text kept per cell: half of them its head, half its tail."""
RICH_LIMIT = 8_000_000
"""Bytes of displays kept per cell."""
MAX_RICH = 200
"""Displays kept per cell."""
ITEM_COST = 64
"""Every text item counts as this many characters more, so that their number is bounded too."""
MAX_ERROR_TEXT = 64_000
MAX_DEPTH = 100
"""Levels of JSON in a display."""


@dataclass(slots=True, eq=False)
class _Text:
    """Text of one stream. `index`: its place in what has been told; None: not told (yet). `before`: the text item right
    before it, as long as this one is empty."""

    order: int
    name: Literal["stdout", "stderr"]
    late: bool
    screen: Screen
    rope: Rope = field(default_factory=Rope)
    before: _Text | None = None
    index: int | None = None

    def output(self) -> Output:
        return TextOutput(name=self.name, text=str(self.rope), late=self.late)


@dataclass(slots=True, eq=False)
class _Kept:
    """A display or an error. `size` counts towards the limit."""

    order: int
    value: Output
    size: int = 0
    index: int | None = None

    def output(self) -> Output:
        return self.value


@dataclass(slots=True, eq=False)
class _Omitted:
    """A place where something was left out. `told`: the size that was last told."""

    order: int
    size: int = 0
    told: int = 0
    index: int | None = None

    def output(self) -> Output:
        return OmittedOutput(size=self.told)


_Slot = _Text | _Kept | _Omitted


class Collector:
    """The outputs of one cell. `feed` and `finish` return the changes; applied in order they give `outputs`."""

    def __init__(self, text_limit: int = TEXT_LIMIT, rich_limit: int = RICH_LIMIT) -> None:
        self._half = text_limit // 2
        self._rich_limit = rich_limit
        self._order = 0
        self._ops: list[OutputOp] = []
        self._clear_next = False
        self._reset()
        self._gaps = 0  # bytes that the executor left out, as far as it has shown where

    def _reset(self) -> None:
        self._shown: list[_Slot] = []
        self._current: _Text | None = None  # the last item, if it is text
        self._used = 0  # characters of the head
        self._head: _Text | None = None  # the text item that filled the head
        self._cut: _Omitted | None = None  # between head and tail; not None means that the head is full
        self._tail: deque[_Text] = deque()
        self._tail_size = 0
        self._dropped: _Omitted | None = None  # displays left out
        self._displays: dict[str, list[_Kept]] = {}
        self._rich_count = 0
        self._rich_size = 0

    @property
    def outputs(self) -> list[Output]:
        """What has been told so far; after `finish`, the cell's outputs for good."""
        return [slot.output() for slot in self._shown]

    def feed(self, event: Stream | Display | Clear | Raised) -> list[OutputOp]:
        """Take what the kernel put out."""
        match event:
            case Stream():
                self._stream(event)
            case Display():
                self._display(event)
            case Raised():
                self._clear_if_due()
                self._keep(_error(event), None)
            case Clear(wait=True):
                self._clear_next = True
            case Clear():
                self._clear_next = True
                self._clear_if_due()
        ops, self._ops = self._ops, []
        return ops

    def finish(self, dropped: int = 0) -> list[OutputOp]:
        """Nothing more comes: tell the tail, and the true size of what was left out. `dropped`: bytes that the executor
        left out in all, of which the gaps it showed are a part."""
        if dropped > self._gaps:
            self._gap(dropped - self._gaps)
        self._join_tail()
        marks = [mark for mark in (self._cut, self._dropped) if mark is not None and mark.size and mark.index is None]
        tail = [text for text in self._tail if text.rope]
        final: list[_Slot] = sorted([*self._shown, *tail, *marks], key=lambda slot: slot.order)
        for index, slot in enumerate(final):
            stale = isinstance(slot, _Omitted) and slot.told != slot.size
            if isinstance(slot, _Omitted):
                slot.told = slot.size
            if stale or slot.index != index:
                slot.index = index
                self._ops.append(Put(index=index, output=slot.output()))
        self._shown, self._tail = final, deque()
        ops, self._ops = self._ops, []
        return ops

    # ---- clearing ----------------------------------------------------------------------------------------------------

    def _clear_if_due(self) -> None:
        if self._clear_next:
            self._clear_next = False
            if self._shown:
                self._ops.append(Wipe())
            self._reset()

    # ---- text --------------------------------------------------------------------------------------------------------

    def _stream(self, event: Stream) -> None:
        if event.text or event.gap:
            self._clear_if_due()
        if event.gap:
            self._gap(event.gap)
        if not event.text:
            return
        text = self._text(event.name, event.late)
        text.screen.write(event.text)
        change = text.screen.changes()
        if change is not None:
            self._write(text, *change)

    def _text(self, name: Literal["stdout", "stderr"], late: bool) -> _Text:
        """The item that text of this stream belongs to now."""
        for _ in range(2):
            text = self._current
            if text is not None and text.name == name and text.late == late:
                return text
            if text is None or text.rope or text.index is not None:
                break
            self._take_back(text)  # it has shown nothing, so it does not come between its neighbours
        return self._new_text(name, late)

    def _take_back(self, text: _Text) -> None:
        self._current = text.before
        if self._tail and self._tail[-1] is text:
            self._tail.pop()
            self._tail_size -= ITEM_COST
        elif self._cut is None:
            self._used -= ITEM_COST

    def _new_text(self, name: Literal["stdout", "stderr"], late: bool) -> _Text:
        if self._cut is None and self._used + ITEM_COST >= self._half:
            self._cut = _Omitted(self._next())
        text = self._current = _Text(self._next(), name, late, Screen(), before=self._current)
        if self._cut is None:
            self._used += ITEM_COST
        else:
            self._to_tail(text)
        return text

    def _write(self, text: _Text, at: int, new: str) -> None:
        if new:
            text.before = None
        if self._cut is not None:
            self._write_tail(text, at, new)
            return
        room = self._half - self._used + len(text.rope) - at
        self._tell(text, at, new[:room])
        if len(new) > room:
            self._fill_head(text, new[room:])

    def _tell(self, text: _Text, at: int, new: str) -> None:
        if at == text.rope.end and not new:
            return
        self._used -= len(text.rope)
        text.rope.write(at, new)
        self._used += len(text.rope)
        if text.index is None:
            self._show(text)
        else:
            self._ops.append(Write(index=text.index, at=at, text=new))

    def _fill_head(self, text: _Text, rest: str) -> None:
        """The head is full; the same screen goes on in the tail."""
        self._head = text
        self._cut = _Omitted(self._next())
        end = text.rope.end
        self._current = _Text(self._next(), text.name, text.late, text.screen, Rope(end))
        self._to_tail(self._current)
        self._write_tail(self._current, end, rest)

    def _to_tail(self, text: _Text) -> None:
        self._tail.append(text)
        self._tail_size += ITEM_COST

    def _write_tail(self, text: _Text, at: int, new: str) -> None:
        self._tail_size -= len(text.rope)
        text.rope.write(at, new)
        self._tail_size += len(text.rope)
        dropped = 0
        while self._tail_size > self._half:
            first = self._tail[0]
            count = min(len(first.rope), self._tail_size - self._half)
            dropped += first.rope.drop_front(count)
            self._tail_size -= count
            if not len(first.rope) and first is not text:
                self._tail.popleft()
                self._tail_size -= ITEM_COST
            elif first is text:
                break
        if dropped and self._cut is not None:
            self._omit(self._cut, dropped)

    def _join_tail(self) -> None:
        """Nothing was left out between head and tail of one item: they are one."""
        first = self._tail[0] if self._tail else None
        head, cut = self._head, self._cut
        if not (first and head and cut) or cut.size or first.screen is not head.screen:
            return
        self._tail.popleft()
        if first.rope:
            self._tell(head, first.rope.base, str(first.rope))

    def _drop_tail(self) -> int:
        """Let the tail begin anew: it is what follows the last gap. Returns the bytes let go."""
        size = sum(text.rope.drop_front(len(text.rope)) for text in self._tail)
        self._tail.clear()
        self._tail_size = 0
        return size

    def _gap(self, size: int) -> None:
        """The executor left something out just here."""
        self._gaps += size
        self._current = None
        if self._cut is not None:
            self._omit(self._cut, size + self._drop_tail())
            return
        last = self._shown[-1] if self._shown else None
        mark = last if isinstance(last, _Omitted) else _Omitted(self._next())
        if mark is not last:
            self._used += ITEM_COST
        self._omit(mark, size)

    # ---- displays and errors -----------------------------------------------------------------------------------------

    def _display(self, event: Display) -> None:
        data, metadata = _harmless_json(event.data), _harmless_json(event.metadata)
        value = RichOutput(data=data, metadata=metadata, display_id=event.display_id)
        earlier = self._displays.get(event.display_id or "", [])
        if event.update and earlier:
            for kept in earlier:
                self._replace(kept, value)
            return
        self._clear_if_due()
        self._keep(value, event.display_id)

    def _keep(self, value: Output, display_id: str | None) -> None:
        size = _size(value)
        self._current = None
        if self._rich_count >= MAX_RICH or self._rich_size + size > self._rich_limit:
            self._dropped = self._dropped or _Omitted(self._next())
            self._omit(self._dropped, size)
            return
        self._rich_count += 1
        self._rich_size += size
        kept = _Kept(self._next(), value, size)
        if display_id:
            self._displays.setdefault(display_id, []).append(kept)
        self._show(kept)

    def _replace(self, kept: _Kept, value: Output) -> None:
        size = _size(value)
        fits = self._rich_size - kept.size + size <= self._rich_limit
        self._rich_size -= kept.size
        kept.value = value if fits else OmittedOutput(size=size)
        kept.size = size if fits else 0
        self._rich_size += kept.size
        if kept.index is not None:
            self._ops.append(Put(index=kept.index, output=kept.value))

    # ---- telling -----------------------------------------------------------------------------------------------------

    def _omit(self, mark: _Omitted, size: int) -> None:
        """Count what is left out; tell it when it has doubled, so that telling costs little."""
        mark.size += size
        if mark.size < 2 * mark.told:
            return
        mark.told = mark.size
        if mark.index is None:
            self._show(mark)
        else:
            self._ops.append(Put(index=mark.index, output=mark.output()))

    def _show(self, slot: _Slot) -> None:
        slot.index = len(self._shown)
        self._shown.append(slot)
        self._ops.append(Put(index=slot.index, output=slot.output()))

    def _next(self) -> int:
        self._order += 1
        return self._order


def merge(ops: Iterable[OutputOp]) -> list[OutputOp]:
    """The same change in few steps: at most one for each item, and nothing before a Wipe."""
    merged: list[OutputOp] = []
    places: dict[int, int] = {}  # by item: its place in `merged`
    ropes: dict[int, Rope] = {}  # by place: the text of an op that later writes have joined
    for op in ops:
        if isinstance(op, Wipe):
            merged, places, ropes = [op], {}, {}
            continue
        place = places.setdefault(op.index, len(merged))
        if place == len(merged):
            merged.append(op)
        elif isinstance(op, Put):
            merged[place] = op
            ropes.pop(place, None)
        elif (rope := ropes.get(place) or _rope(merged[place])) is not None:
            ropes[place] = rope
            if op.at < rope.base:
                merged[place] = op
                del ropes[place]
            else:
                rope.write(op.at, op.text)
    return [_with_text(op, ropes[place]) if place in ropes else op for place, op in enumerate(merged)]


def _rope(op: OutputOp) -> Rope | None:
    """The text that an op writes; None if later writes cannot join it, because the item is no text."""
    match op:
        case Write(at=at, text=text):
            rope = Rope(at)
        case Put(output=TextOutput(text=text)):
            rope = Rope()
        case _:
            return None
    rope.write(rope.base, text)
    return rope


def _with_text(op: OutputOp, rope: Rope) -> OutputOp:
    match op:
        case Write(index=index, at=at):
            return Write(index=index, at=at, text=str(rope))
        case Put(index=index, output=TextOutput(name=name, late=late)):
            return Put(index=index, output=TextOutput(name=name, text=str(rope), late=late))
        case _:
            return op


def _error(event: Raised) -> ErrorOutput:
    return ErrorOutput(
        ename=clip(plain(event.ename), 200),
        evalue=clip(plain(event.evalue), 8_000),
        traceback=clip(plain("\n".join(event.traceback)), MAX_ERROR_TEXT),
    )


def _size(output: Output) -> int:
    match output:
        case RichOutput(data=data, metadata=metadata):
            return _weight(data) + _weight(metadata)
        case ErrorOutput(evalue=evalue, traceback=traceback):
            return len(evalue) + len(traceback)
        case _:
            return 0


def _weight(value: Any) -> int:
    """About how many bytes a JSON value takes."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _weight(item) + 2 for key, item in value.items())
    if isinstance(value, list):
        return sum(_weight(item) + 1 for item in value)
    return 8


def _harmless_json(value: Any, depth: int = 0) -> Any:
    """A JSON value whose strings any store can hold, and which is not nested without end."""
    if isinstance(value, str):
        return harmless(value)
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {harmless(key): _harmless_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_harmless_json(item, depth + 1) for item in value]
    return value
