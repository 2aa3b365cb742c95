"""The conversation list and page over HTTP, and what other tabs hear of changes."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.protocol.page import ConversationList, ConversationPage
from tests.support.app import App, Tab, new_id
from tests.support.scripts import Hold, Reply, Wait

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.sandbox]


async def call(app: App, method: str, path: str = "", **more):
    """Status and JSON of one request that a browser makes."""
    async with (await app.browser()).request(method, f"{app.url}/api/conversations{path}", **more) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else None


async def listed(app: App, **query) -> list[str]:
    _, body = await call(app, "GET", params=query)
    return [summary.id for summary in ConversationList.model_validate(body).conversations]


async def heard(tab: Tab, kind: str):
    return await tab.until_frame(lambda frame: frame["type"] == kind)


async def test_a_new_conversation_is_at_the_top_of_the_list(app: App, tab: Tab) -> None:
    one, two = new_id(), new_id()
    assert (await call(app, "PUT", f"/{one}"))[0] == 200
    status, summary = await call(app, "PUT", f"/{two}", json={"title": " Numbers "})
    assert (status, summary["title"], summary["running"]) == (200, "Numbers", False)
    assert (await listed(app, limit=2)) == [two, one]
    assert (await heard(tab, "conversation.changed"))["summary"]["id"] == one


async def test_making_a_conversation_again_changes_and_tells_nothing(app: App, tab: Tab) -> None:
    _, first = await call(app, "PUT", f"/{tab.conversation}", json={"title": "Other"})
    assert first["title"] == ""


async def test_the_list_goes_on_before_the_last_line(app: App) -> None:
    for _ in range(3):
        await call(app, "PUT", f"/{new_id()}")
    _, body = await call(app, "GET", params={"limit": 2})
    after = body["conversations"][-1]["updated_at"]
    rest = await listed(app, limit=200, before=after)
    assert rest[0] == (await listed(app, limit=3))[2]
    assert not set(rest) & {line["id"] for line in body["conversations"]}


async def test_the_first_message_names_the_conversation_and_every_tab_hears_it(app: App, tab: Tab) -> None:
    other = await app.tab()
    await tab.ask("How many days has a leap year?\nSay it briefly.")
    frame = await other.until_frame(
        lambda frame: frame["type"] == "conversation.changed" and frame["summary"]["id"] == tab.conversation
    )
    assert frame["summary"]["title"] == "How many days has a leap year?"


async def test_a_page_without_events_has_a_cursor_to_follow_from(app: App) -> None:
    id = new_id()
    await call(app, "PUT", f"/{id}")
    _, body = await call(app, "GET", f"/{id}")
    page = ConversationPage.model_validate(body)
    assert (page.events, page.live, page.kernel.state) == ([], None, "none")
    assert page.cursor


async def test_a_page_read_while_a_turn_runs_leads_to_the_same_view(app: App, tab: Tab, model) -> None:
    """Snapshot and what follows its cursor equal what was seen from the start."""
    hold = asyncio.Event()
    model.script = lambda _: Reply(["One ", Wait(0.2), "two ", Hold(hold), "three."])
    turn = await tab.say("count")
    await tab.until(lambda event: event.type == "text.delta" and event.offset > 0)
    late = await app.tab(tab.conversation)
    assert late.view.turns[0].closed_at is None
    hold.set()
    await tab.closed(turn)
    await late.closed(turn)
    assert late.view.turns == tab.view.turns
    assert late.view.turns[0].items[-1].text == "One two three."


async def test_pages_read_at_every_moment_of_a_turn_lead_to_the_same_view(app: App, tab: Tab, model) -> None:
    turn = await tab.say("word " * 300)
    late = [await app.tab(tab.conversation) for _ in range(6)]
    await tab.closed(turn)
    for one in late:
        if not one.view.turns or one.view.turns[0].closed_at is None:
            await one.closed(turn)
        assert one.view.turns == tab.view.turns


async def test_a_title_is_changed_and_told(app: App, tab: Tab) -> None:
    status, summary = await call(app, "PATCH", f"/{tab.conversation}", json={"title": "Mine"})
    assert (status, summary["title"]) == (200, "Mine")
    assert (await heard(tab, "conversation.changed"))["summary"]["title"] == "Mine"


@pytest.mark.parametrize("title", ["", "   ", "x" * 201])
async def test_an_impossible_title_is_refused(app: App, tab: Tab, title: str) -> None:
    assert (await call(app, "PATCH", f"/{tab.conversation}", json={"title": title}))[0] == 422


async def test_a_deleted_conversation_is_gone_for_everybody(app: App, tab: Tab) -> None:
    await tab.ask("Hello")
    assert (await call(app, "DELETE", f"/{tab.conversation}"))[0] == 204
    assert (await heard(tab, "conversation.removed"))["conversation"] == tab.conversation
    assert (await call(app, "GET", f"/{tab.conversation}"))[0] == 404
    assert tab.conversation not in await listed(app, limit=200)


async def test_a_conversation_is_not_deleted_while_a_turn_runs(app: App, tab: Tab, model) -> None:
    hold = asyncio.Event()
    model.script = lambda _: Reply(["Wait ", Hold(hold)])
    turn = await tab.say("hold")
    await tab.until_type("text.delta")
    status, body = await call(app, "DELETE", f"/{tab.conversation}")
    assert status == 409 and "Stop" in body["detail"]
    hold.set()
    await tab.closed(turn)
    assert (await call(app, "DELETE", f"/{tab.conversation}"))[0] == 204


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_what_does_not_exist_is_404_in_words(app: App, method: str) -> None:
    status, body = await call(app, method, f"/{new_id()}", json={"title": "x"} if method == "PATCH" else None)
    assert status == 404 and "no such conversation" in body["detail"]


@pytest.mark.parametrize("id", ["a.b", "x" * 65, "%2e%2e", "a%20b"])
async def test_an_id_that_could_not_be_a_folder_is_refused(app: App, id: str) -> None:
    async with (await app.browser()).put(f"{app.url}/api/conversations/{id}") as answer:
        assert answer.status in (404, 405, 422)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"before": "x"}])
async def test_a_list_cannot_be_asked_for_in_any_size(app: App, query) -> None:
    assert (await call(app, "GET", params=query))[0] == 422
