"""Whole turns: browser's websocket, orchestrator, model server, sandboxed kernel, store."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest

from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome
from orchestrator.protocol.fold import fold
from tests.support.app import App, Tab, new_id, serving, settings_for
from tests.support.scripts import Reply, action

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.sandbox]


def cells(view):
    return [item for turn in view.turns for item in turn.items if item.kind == "cell"]


def text(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.kind == "text")


async def test_an_answer_without_code_is_streamed_and_stored(tab: Tab) -> None:
    view = await tab.ask("Good morning to you")
    assert [item.text for item in view.turns[0].items] == ["Good morning to you"]
    assert view.turns[0].outcome is TurnOutcome.ANSWERED
    deltas = [event for event in tab.events if event.type == "text.delta"]
    assert "".join(delta.text for delta in deltas) == "Good morning to you"


async def test_code_runs_and_its_result_goes_back_to_the_model(tab: Tab, model) -> None:
    view = await tab.ask("run print(6 * 7)")
    (cell,) = cells(view)
    assert text(cell) == "42\n" and cell.outcome is CellOutcome.OK and cell.execution_count == 1
    assert view.turns[0].items[-1].text == "Done."
    observation = model.server.exchanges[-1].request.messages[-1]
    assert observation["role"] == "user" and "42" in observation["content"]


async def test_the_kernel_lives_as_long_as_the_conversation(tab: Tab) -> None:
    await tab.ask("run x = 41")
    view = await tab.ask("run print(x + 1)")
    assert text(cells(view)[-1]) == "42\n" and not cells(view)[-1].fresh


async def test_output_is_told_while_the_code_runs(tab: Tab) -> None:
    await tab.say("run import time\nprint('first', flush=True)\ntime.sleep(1.5)\nprint('second')")
    await tab.until(lambda event: event.type == "cell.output" and text(cells(tab.view)[0]) == "first\n")
    assert cells(tab.view)[0].state == "running"
    await tab.until_type("turn.closed")
    assert text(cells(tab.view)[0]) == "first\nsecond\n"


async def test_an_error_is_told_to_the_model_which_goes_on(tab: Tab, model) -> None:
    view = await tab.ask("run 1 / 0")
    (cell,) = cells(view)
    assert cell.outcome is CellOutcome.ERROR
    assert cell.outputs[-1].ename == "ZeroDivisionError"
    assert "ZeroDivisionError" in model.server.exchanges[-1].request.messages[-1]["content"]
    assert view.turns[0].outcome is TurnOutcome.ANSWERED


async def test_a_plot_arrives_as_a_picture_and_the_model_is_told_so(tab: Tab, model) -> None:
    view = await tab.ask("run import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    (picture,) = [output for output in cells(view)[0].outputs if output.kind == "rich"]
    assert picture.data["image/png"].startswith("iVBOR")
    told = model.server.exchanges[-1].request.messages[-1]["content"]
    assert "iVBOR" not in told and "image" in told


async def test_rich_outputs_keep_their_whole_bundle(tab: Tab) -> None:
    view = await tab.ask("run import pandas as pd\npd.DataFrame({'a': [1, 2]})")
    (table,) = [output for output in cells(view)[0].outputs if output.kind == "rich"]
    assert set(table.data) >= {"text/html", "text/plain"}


async def test_a_progress_bar_redraws_its_line(tab: Tab) -> None:
    view = await tab.ask("run for i in range(3): print(f'\\r{i}/2', end='', flush=True)")
    assert text(cells(view)[0]) == "2/2"


async def test_new_files_are_named_under_the_cell_and_stored(app: App, tab: Tab) -> None:
    view = await tab.ask("run open('notes.txt', 'w').write('hello')")
    assert [(file.path, file.change) for file in cells(view)[0].files] == [("notes.txt", "new")]


async def test_the_page_folds_to_what_was_told_live(tab: Tab) -> None:
    await tab.ask("run print('hello')")
    told = tab.view
    page = await tab.load()
    assert page.live is None and not page.summary.running
    assert tab.view.turns == told.turns


async def test_the_same_message_twice_is_answered_once(tab: Tab, model) -> None:
    before = model.server.asked
    turn = await tab.say("once only")
    await tab.say("once only", turn=turn)
    await tab.closed(turn)
    await tab.say("once only", turn=turn)
    await tab.ask("and another")
    assert [t.text for t in tab.view.turns] == ["once only", "and another"]
    assert model.server.asked == before + 2


async def test_a_second_message_is_refused_while_a_turn_is_open(tab: Tab) -> None:
    first = await tab.say("run import time; time.sleep(1)")
    await tab.until_type("cell.opened")
    other = await tab.say("me too")
    refused = await tab.until_frame(lambda frame: frame["type"] == "refused")
    assert refused["reason"] == "turn_open" and refused["turn"] == other and refused["words"]
    await tab.closed(first)


async def test_code_cut_off_by_the_token_limit_is_not_run_and_the_model_is_told(tab: Tab, model) -> None:
    replies = iter([Reply("```python\nprint('never')\n" + "x" * 50, finish="length"), Reply("Then not.")])
    model.script = lambda _: next(replies)
    view = await tab.ask("write much code")
    (cell,) = cells(view)
    assert cell.state == "not_run" and cell.finish is StepFinish.CUT_OFF and cell.outputs == []
    assert "not run" in model.server.exchanges[-1].request.messages[-1]["content"].lower()


async def test_an_invented_output_is_cut_and_never_shown(tab: Tab, model) -> None:
    replies = iter([Reply("It prints:\n```output\n1234567\n```\nSo it is 1234567."), Reply("I have not run it yet.")])
    model.script = lambda _: next(replies)
    view = await tab.ask("what does it print?")
    assert "1234567" not in view.model_dump_json()
    assert view.turns[0].outcome is TurnOutcome.ANSWERED


async def test_a_limit_ends_the_turn_and_continue_goes_on(model, tmp_path) -> None:
    numbers = iter(range(100))
    settings = settings_for(tmp_path, model.server.base_url, turn_max_executions=2)
    async with serving(settings) as app:
        tab = await app.tab()
        model.script = lambda _: action(f"print({next(numbers)})", "fenced")
        view = await tab.ask("count")
        assert view.turns[0].outcome is TurnOutcome.EXECUTION_LIMIT and len(cells(view)) == 2
        model.script = lambda _: Reply("Enough.")
        turn = new_id()
        await tab.command(type="turn.continue", conversation=tab.conversation, turn=turn)
        await tab.closed(turn)
        assert tab.view.turns[1].items[-1].text == "Enough."
        messages = model.server.exchanges[-1].request.messages
        assert "maximum" not in json.dumps(messages)
        assert [message["role"] for message in messages[1:]] == ["user", "assistant", "user", "assistant", "user"]
        await tab.command(type="turn.continue", conversation=tab.conversation, turn=new_id())
        refused = await tab.until_frame(lambda frame: frame["type"] == "refused")
        assert refused["reason"] == "nothing_to_continue"
    model.reset()


async def test_the_history_is_a_byte_stable_prefix(tab: Tab, model) -> None:
    for number in range(3):
        await tab.ask(f"run print({number})")
    bodies = [exchange.request.messages for exchange in model.server.exchanges[-6:]]
    for earlier, later in pairwise(bodies):
        assert later[: len(earlier)] == earlier


async def test_malformed_frames_are_refused_with_words_and_the_connection_goes_on(tab: Tab) -> None:
    for bad in ("nonsense", "{}", '{"type":"message.send"}', '{"type":"turn.stop","conversation":"../x","turn":"t"}', "[]"):
        await tab.socket.send_str(bad)
        refused = await tab.until_frame(lambda frame: frame["type"] == "refused")
        assert refused["reason"] == "malformed" and refused["words"]
    assert (await tab.ask("still here")).turns[-1].outcome is TurnOutcome.ANSWERED


async def test_a_client_that_never_speaks_the_protocol_is_hung_up_on(tab: Tab) -> None:
    for _ in range(30):
        if tab.socket.closed:
            break
        await tab.socket.send_str("x")
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        async for _ in tab.socket:
            pass
    assert tab.socket.close_code == 4400


async def test_an_oversized_frame_closes_the_connection_and_nothing_else(tab: Tab) -> None:
    await tab.socket.send_str("x" * (2 << 20))
    async with asyncio.timeout(5):
        async for _ in tab.socket:
            pass
    assert tab.socket.close_code == 1009
    await tab.connect()
    assert (await tab.ask("still here")).turns[-1].outcome is TurnOutcome.ANSWERED


async def test_an_unknown_conversation_is_refused(tab: Tab) -> None:
    await tab.command(type="message.send", conversation="nowhere", turn=new_id(), text="hi")
    refused = await tab.until_frame(lambda frame: frame["type"] == "refused")
    assert refused["reason"] == "unknown_conversation"


async def test_the_list_is_told_of_new_titles_and_running_turns(tab: Tab) -> None:
    await tab.ask("run import time; time.sleep(1)")
    await tab.until_frame(lambda f: f["type"] == "conversation.changed" and not f["summary"]["running"])
    changes = [frame["summary"] for frame in tab.frames if frame["type"] == "conversation.changed"]
    mine = [change for change in changes if change["id"] == tab.conversation]
    assert mine[-1]["title"] == "run import time; time.sleep(1)" and mine[0]["running"]


async def test_restarting_the_kernel_forgets_variables_and_keeps_files(tab: Tab) -> None:
    await tab.ask("run x = 1; open('kept.txt', 'w').write('1')")
    await tab.command(type="kernel.restart", conversation=tab.conversation)
    await tab.until_type("kernel.changed")
    view = await tab.ask("run import os\nprint('x' in globals(), os.path.exists('kept.txt'))")
    assert text(cells(view)[-1]) == "False True\n" and cells(view)[-1].fresh


async def test_two_conversations_do_not_share_a_kernel(app: App, tab: Tab) -> None:
    other = await app.tab()
    await tab.ask("run secret = 1")
    view = await other.ask("run print('secret' in globals())")
    assert text(cells(view)[-1]) == "False\n"
    await other.drop()


async def test_every_prefix_of_a_turn_and_the_page_at_that_moment_agree(app: App, tab: Tab, model) -> None:
    """A reader who loads the page at any moment and follows from its cursor sees what one who never left sees."""
    model.script = lambda r: (
        Reply("Done and done.") if r.observes else action("print(1)\nprint(2)", "fenced", "Let me see. ")
    )
    watchers = []
    turn = await tab.say("go")
    while True:
        frame = await tab.frame()
        late = Tab(tab.http, tab.url, tab.conversation)
        await late.load()
        await late.connect()
        watchers.append(late)
        if frame["type"] == "told" and frame["event"]["type"] == "turn.closed":
            break
    for late in watchers:
        if not late.view.turns or late.view.turns[-1].state != "closed":
            await late.closed(turn)
        assert not late.view.gap
        assert late.view.turns == tab.view.turns
        await late.drop()
    page = await tab.load()
    assert fold(page.events).turns == watchers[0].view.turns


async def test_closing_the_websocket_at_every_event_changes_nothing(tab: Tab, model) -> None:
    model.script = lambda r: (
        Reply("Done and done.") if r.observes else action("print(1)\nprint(2)", "fenced", "Let me see. ")
    )
    turn = await tab.say("go")
    for _ in range(500):
        frame = await tab.frame()
        if frame["type"] == "told" and frame["event"]["type"] == "turn.closed" and frame["event"]["turn"] == turn:
            break
        if frame["type"] == "told":
            await tab.drop()
            await tab.connect()
    live = tab.view
    await tab.load()
    assert not live.gap and live.turns == tab.view.turns
