"""Output on its way to its reader: in order, merged, bounded, and counted to the byte."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from executor.jupyter import utf8_length
from executor.outbox import Outbox
from executor.wire import Display, Started, Stream


async def drain(outbox: Outbox) -> list:
    outbox.flush_tail()
    outbox.put(Started(fresh=False))  # marks the end
    events = []
    while not isinstance(event := await outbox.get(), Started):
        events.append(event)
    return events


def stream(text: str, name: str = "stdout") -> tuple[Stream, int]:
    return Stream(name=name, text=text), utf8_length(text)


async def test_consecutive_text_is_one_event_and_order_is_kept():
    outbox = Outbox(10_000, 100)
    for event in (stream("a"), stream("b"), stream("c", "stderr"), stream("d")):
        outbox.offer(*event)
    assert [(e.name, e.text) for e in await drain(outbox)] == [("stdout", "ab"), ("stderr", "c"), ("stdout", "d")]


async def test_t14_the_middle_of_a_long_text_is_left_out_and_counted():
    outbox = Outbox(1000, 100)
    for number in range(1000):
        outbox.offer(*stream(f"{number:04}\n"))
    events = await drain(outbox)
    text = "".join(event.text for event in events)
    assert text.startswith("0000\n0001\n") and text.endswith("0998\n0999\n")
    assert outbox.dropped + len(text) == 5000
    assert sum(event.gap for event in events) == outbox.dropped


async def test_a_display_that_is_too_large_is_left_out_alone():
    outbox = Outbox(10_000, 100)
    outbox.offer(*stream("before"))
    outbox.offer(Display(data={"text/plain": "x"}), 50_000)
    outbox.offer(*stream("after"))
    assert "".join(event.text for event in await drain(outbox)) == "beforeafter"
    assert outbox.dropped == 50_000


async def test_t14_a_million_empty_displays_are_bounded_too():
    outbox = Outbox(100_000, 100)
    for _ in range(10_000):
        outbox.offer(Display(data={}), 10)
    assert len(await drain(outbox)) < 500


async def test_a_reader_that_waits_is_woken():
    outbox = Outbox(1000, 100)
    reading = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.offer(*stream("x"))
    assert (await reading).text == "x"


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200), max_size=60),
    st.integers(0, 4000),
    st.integers(0, 300),
)
def test_t14_every_byte_is_handed_on_or_counted(texts, budget, tail):
    async def check() -> None:
        outbox = Outbox(budget, tail)
        for text in texts:
            outbox.offer(*stream(text))
        events = await drain(outbox)
        kept = "".join(event.text for event in events)
        assert utf8_length(kept) + outbox.dropped == utf8_length("".join(texts))
        assert utf8_length(kept) <= budget + tail

    asyncio.run(check())
