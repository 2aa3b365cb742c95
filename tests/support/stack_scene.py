"""Somebody who chats through the whole stack, a conversation of theirs in some phase, and what must hold after a fault."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from orchestrator.protocol.events import TurnOutcome
from orchestrator.protocol.view import Turn
from tests.support.app import Tab, new_id
from tests.support.obedient import LATE
from tests.support.people import Person
from tests.support.stack import Stack, until

CLOSES_S = 120.0
MARK = "mark.txt"
WRITTEN = " ".join(f"word{number}" for number in range(200))
RUNNING = (
    f"import time\nopen('{MARK}', 'a').write('x')\nprint('began', flush=True)\ntime.sleep(8)\n"
    f"open('{MARK}', 'a').write('y')\nprint('ended')"
)


class Guest(Person):
    """Somebody with an account, who chats."""

    async def tab(self, conversation: str | None = None) -> Tab:
        """A tab on a conversation (a new one when None), loaded and connected."""
        tab = Tab(self.http, self.url, conversation or new_id())
        if conversation is None:
            await self.ok("PUT", f"/api/conversations/{tab.conversation}", {})
        await tab.load()
        await tab.connect()
        return tab


@dataclass
class Scene:
    """A conversation in some phase, and what was stored before the plug was pulled."""

    stack: Stack
    guest: Guest
    tab: Tab
    stored: list[str]
    turn: str = ""


async def scene_of(stack: Stack, guest: Guest) -> Scene:
    """A conversation with one turn, which left a variable and a file."""
    tab = await guest.tab()
    await tab.ask(f"run kept = 41\nopen('{MARK}', 'w').write('0')")
    return Scene(stack, guest, tab, [event.model_dump_json() for event in (await tab.load()).events])


async def page(scene: Scene) -> Tab:
    """The conversation as a reloaded page has it; asked for until the server is back."""
    again = Tab(scene.guest.http, scene.stack.url, scene.tab.conversation)

    async def loaded() -> bool:
        try:
            await again.load()
            return True
        except (aiohttp.ClientError, TimeoutError, AssertionError):
            return False

    await until(loaded)
    return again


async def nothing_stored_is_lost(scene: Scene) -> None:
    again = Tab(scene.guest.http, scene.stack.url, scene.tab.conversation)

    async def all_there() -> bool:
        try:
            events = (await again.load()).events
        except (aiohttp.ClientError, TimeoutError, AssertionError):
            return False
        kept = [event.model_dump_json() for event in events[: len(scene.stored)]]
        assert kept == scene.stored
        return True

    await until(all_there)


async def closed(scene: Scene) -> Turn:
    """The turn, once it is closed for whoever loads the page."""
    found: list[Turn] = []

    async def over() -> bool:
        view = (await page(scene)).view
        turn = next((turn for turn in view.turns if turn.turn == scene.turn), None)
        assert turn is not None, "a message that was accepted is gone"
        found[:] = [turn] if turn.outcome is not None else []
        return bool(found)

    await until(over, CLOSES_S)
    return found[0]


def true_words(turn: Turn, undisturbed: bool) -> None:
    if undisturbed or turn.outcome is TurnOutcome.ANSWERED:
        assert turn.outcome is TurnOutcome.ANSWERED, (turn.outcome, turn.words, turn.error)
    else:
        assert turn.words, turn
    for item in turn.items:
        if item.kind != "cell":
            continue
        assert item.outcome is not None or item.state == "not_run", item
        said = "".join(output.text for output in item.outputs if output.kind == "text")
        if item.outcome == "ok":
            assert said == "began\nended\n"
        else:
            assert item.words or turn.words, item
    if turn.outcome is TurnOutcome.ANSWERED:
        last = turn.items[-1]
        assert last.kind == "prose" and last.text in (LATE, WRITTEN, "Done."), last


async def goes_on(scene: Scene, phase: str, variables: bool) -> None:
    """The next message is answered, by the same files, and no cell has run twice."""
    tab = await page(scene)
    await connected(tab)
    turn = new_id()
    await tab.say(f"run print(open('{MARK}').read(), 'kept' in globals())", turn)
    event = await tab.closed(turn)
    assert event.outcome is TurnOutcome.ANSWERED, (event.outcome, tab.view.turns[-1])
    marks, _, kept = tab.view.turns[-1].items[0].outputs[0].text.strip().partition(" ")
    assert marks in ({"0x", "0xy"} if phase == "running" else {"0"}), marks
    if variables and phase != "running":
        assert kept == "True"
    await tab.drop()


async def connected(tab: Tab) -> None:
    async def done() -> bool:
        try:
            await tab.connect()
            return True
        except (aiohttp.ClientError, TimeoutError, AssertionError):
            return False

    await until(done)
