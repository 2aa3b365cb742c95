"""T26: code that asks for input. Refused with words by default; with `allow_stdin` a question that somebody can answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
import pytest_asyncio

from executor import questions
from executor.jupyter import Message
from executor.outbox import Outbox
from executor.questions import Questions, within
from executor.wire import Asked, Outcome, Started
from tests.support.kernels import Chat, Ran, gather, managing

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["bubblewrap", "docker"])
async def chat(request, tmp_path_factory):
    """One conversation for all tests, on each backend: whatever a test did, the next one can run code."""
    image = request.getfixturevalue("sandbox_image") if request.param == "docker" else ""
    async with managing(tmp_path_factory.mktemp("data"), backend=request.param, image=image) as manager:
        yield Chat(manager)


async def ask(chat: Chat, code: str, *replies: str | None, timeout_s: float = 30) -> tuple[Ran, list[Asked]]:
    """Run code that may ask; the n-th question gets the n-th reply, None stops the cell."""
    asked: list[Asked] = []

    async def answer(event) -> None:
        if isinstance(event, Asked):
            asked.append(event)
            if len(asked) > len(replies):
                return
            text = replies[len(asked) - 1]
            if text is None:
                await chat.manager.interrupt(chat.id)
            else:
                assert chat.manager.reply(chat.id, "cell", event.id, text)

    return await gather(chat.manager.run(chat.id, "cell", code, timeout_s, allow_stdin=True), answer), asked


# ---- in a sandbox ----------------------------------------------------------------------------------------------------


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "code",
    [
        "input('name? ')",
        "import getpass; getpass.getpass()",
        "try: 1/0\nexcept ZeroDivisionError: import pdb; pdb.post_mortem()",
        "import pdb; pdb.set_trace()\n1",
    ],
)
async def test_t26_without_a_keyboard_asking_is_refused_with_words(chat, code):
    ran = await chat.run(code, 15)
    said = ran.text() + ran.text("stderr") + "".join(str(e.evalue) for e in ran.events if e.type == "raised")
    assert "without a keyboard" in said and ran.took < 12
    assert not any(isinstance(event, Asked) for event in ran.events)
    assert (await chat.run("print(6 * 7)")).text() == "42\n"


@pytest.mark.sandbox
async def test_t26_a_breakpoint_holds_nothing_up(chat):
    """Where debugpy is installed it has the say and finds nobody attached; else it is pdb."""
    ran = await chat.run("breakpoint()\nprint('on')", 15)
    refused = [event.evalue for event in ran.events if event.type == "raised"]
    assert "without a keyboard" in refused[0] if refused else ran.text() == "on\n"
    assert ran.took < 12 and (await chat.run("print(6 * 7)")).text() == "42\n"


@pytest.mark.sandbox
async def test_t26_a_question_is_told_and_answered(chat):
    code = "import getpass\nname = input('Who? ')\nword = getpass.getpass('Word: ')\nprint([name, word, input()])"
    ran, asked = await ask(chat, code, "Zoë\n2", "s3", "")
    assert [(one.prompt, one.password) for one in asked] == [("Who? ", False), ("Word: ", True), ("", False)]
    assert ran.text() == "['Zoë\\n2', 's3', '']\n" and ran.outcome is Outcome.OK
    ran, _ = await ask(chat, "input('end of file?')", "\x04")
    assert ran.raised.ename == "EOFError"


@pytest.mark.sandbox
async def test_t26_stop_during_a_question_works_and_keeps_the_variables(chat):
    await chat.run("x = 5")
    ran, asked = await ask(chat, "input('for ever? ')", None)
    assert ran.outcome is Outcome.INTERRUPTED and ran.closed.variables_kept and len(asked) == 1 and ran.took < 8
    assert not chat.manager.reply(chat.id, "cell", asked[0].id, "too late")
    ran, _ = await ask(chat, "print(x, input('again? '))", "fresh")
    assert ran.text() == "5 fresh\n"


@pytest.mark.sandbox
async def test_t26_a_question_that_nobody_answers_ends_with_words(chat, monkeypatch):
    monkeypatch.setattr(questions, "ASK_S", 1.0)
    ran, asked = await ask(chat, "input('anybody? ')")
    assert len(asked) == 1 and "Nobody answered" in ran.raised.evalue and ran.raised.ename == "StdinNotImplementedError"
    assert (await chat.run("print(1)")).text() == "1\n"


@pytest.mark.sandbox
async def test_t26_waiting_does_not_count_as_time_of_the_cell_but_computing_does(chat):
    await chat.run("1")

    async def slowly(event) -> None:
        if isinstance(event, Asked):
            await asyncio.sleep(3)
            assert chat.manager.reply(chat.id, "cell", event.id, "late")

    ran = await gather(chat.manager.run(chat.id, "cell", "print(input())", 2, allow_stdin=True), slowly)
    assert ran.text() == "late\n" and ran.outcome is Outcome.OK and ran.took > 3
    ran, _ = await ask(chat, "input()\nwhile True: pass", "go", timeout_s=2)
    assert ran.outcome is Outcome.TIMED_OUT


@pytest.mark.sandbox
async def test_t26_a_reply_to_nobody_and_to_another_does_no_harm(chat):
    assert not chat.manager.reply(chat.id, "cell", "x", "nobody is there")
    await chat.run("1")
    assert not chat.manager.reply(chat.id, "cell", "x", "no cell runs")
    refused = []

    async def wrongly(event) -> None:
        if isinstance(event, Asked):
            for cell, id in (("another", event.id), ("cell", "x"), ("cell", "")):
                refused.append(chat.manager.reply(chat.id, cell, id, "wrong"))
            refused.append(chat.manager.reply(f"{chat.id}x", "cell", event.id, "wrong"))
            assert chat.manager.reply(chat.id, "cell", event.id, "right")
            refused.append(chat.manager.reply(chat.id, "cell", event.id, "twice"))

    ran = await gather(chat.manager.run(chat.id, "cell", "print(input())", 30, allow_stdin=True), wrongly)
    assert ran.text() == "right\n" and refused == [False] * 5
    with pytest.raises(ValueError):
        chat.manager.reply("../x", "cell", "x", "")


@pytest.mark.sandbox
async def test_t26_an_answer_to_a_question_that_was_broken_off_is_not_taken_for_the_next(chat):
    """The code catches the interrupt and asks again: only the reply to the second question counts."""
    code = "try:\n    input('first')\nexcept KeyboardInterrupt:\n    print(input('second'))"
    asked: list[Asked] = []

    async def answer(event) -> None:
        if isinstance(event, Asked):
            asked.append(event)
            if len(asked) == 1:
                await chat.sandbox_interrupt()
            else:
                assert not chat.manager.reply(chat.id, "cell", asked[0].id, "stale")
                assert chat.manager.reply(chat.id, "cell", event.id, "mine")

    chat.sandbox_interrupt = lambda: chat.manager.slot_of(chat.id).channel.interrupt()
    await chat.run("1")
    ran = await gather(chat.manager.run(chat.id, "cell", code, 30, allow_stdin=True), answer)
    assert ran.text() == "mine\n" and [one.prompt for one in asked] == ["first", "second"]


FORGED = """
kernel = get_ipython().kernel
for content in [{}, {"prompt": 3, "password": "no"}, {"prompt": "p" * 10**6, "password": True}] * REPEAT:
    kernel.session.send(kernel.stdin_socket, "input_request", content, kernel.get_parent("shell"),
                        ident=kernel._get_shell_context_var(kernel._shell_parent_ident))
print("done")
"""


@pytest.mark.sandbox
async def test_t26_forged_questions_are_bounded_and_end_nothing(chat):
    ran = await chat.run(FORGED.replace("REPEAT", "3"))
    assert ran.text() == "done\n" and not any(isinstance(event, Asked) for event in ran.events)
    ran, asked = await ask(chat, FORGED.replace("REPEAT", "200"))
    assert ran.outcome is Outcome.OK and ran.text() == "done\n"
    assert len(asked) == questions.MOST and all(len(one.prompt) <= questions.PROMPT for one in asked)
    assert (await ask(chat, "print(input())", "still here"))[0].text() == "still here\n"


@pytest.mark.sandbox
async def test_t26_code_that_asks_without_end_is_refused_after_a_while(chat, monkeypatch):
    monkeypatch.setattr(questions, "MOST", 3)
    code = "for n in range(5):\n    try: input(str(n))\n    except Exception as error: print(n, error)"
    ran, asked = await ask(chat, code, "", "", "")
    assert [one.prompt for one in asked] == ["0", "1", "2"] and ran.text().count("asked too often") == 2


@pytest.mark.sandbox
async def test_t26_a_thread_that_asks_after_the_cell_hangs_nobody(chat):
    code = "import threading, time\ndef later():\n    time.sleep(1)\n    ask('late? ')\nask = input\n"
    await ask(chat, f"{code}threading.Thread(target=later).start()")
    await asyncio.sleep(1.5)
    ran, asked = await ask(chat, "print(input('mine? '))", "yes")
    assert ran.text(late=False) == "yes\n" and [one.prompt for one in asked] == ["mine? "]


@pytest.mark.sandbox
async def test_t26_a_kernel_that_dies_while_it_asks_ends_the_cell(chat):
    code = "import os, threading\nthreading.Timer(1, lambda: os._exit(1)).start()\ninput('?')"
    ran, asked = await ask(chat, code)
    assert ran.outcome is Outcome.KERNEL_DIED and not chat.manager.reply(chat.id, "cell", asked[0].id, "x")


@pytest.mark.sandbox
async def test_t26_hanging_up_during_a_question_stops_the_cell(chat):
    async with aclosing(chat.manager.run(chat.id, "cell", "x = 1\ninput('?')", 30, allow_stdin=True)) as events:
        async for event in events:
            if isinstance(event, Asked):
                break
    async with asyncio.timeout(15):
        assert (await chat.run("print(x)")).text() == "1\n"


# ---- the bounds alone ------------------------------------------------------------------------------------------------


def question(id: str = "q", **content) -> Message:
    return Message("stdin", "input_request", "cell", content, 100, id=id)


async def events(outbox: Outbox) -> list:
    outbox.put(Started(fresh=False))
    found = []
    while not isinstance(event := await outbox.get(), Started):
        found.append(event)
    return found


async def test_all_waiting_together_has_a_limit():
    now = [0.0]
    sent: list[tuple[str, dict]] = []
    outbox = Outbox(10**6, 100)
    asked = Questions(outbox, lambda: now[0])
    asked.begin(lambda id, content: sent.append((id, content)))
    for number in range(5):
        asked.heard(question(f"q{number}"))
        now[0] += 290.0
        assert asked.waited() <= questions.TOTAL_S + 290
    told = await events(outbox)
    assert len(told) == 4 and asked.waited() == 4 * 290
    assert sent == [("q4", {"status": "error", "evalue": questions.TOO_MUCH, "value": ""})]
    asked.end()


async def test_nothing_is_heard_before_the_cell_and_after_it():
    outbox = Outbox(10**6, 100)
    asked = Questions(outbox)
    asked.heard(question())
    asked.begin(lambda id, content: None)
    asked.heard(Message("stdin", "input_reply", "cell", {}, 100, id="x"))
    asked.heard(question(""))
    asked.heard(question(prompt=["no text"], password=1))
    asked.end()
    asked.heard(question())
    [only] = await events(outbox)
    assert (only.prompt, only.password) == ("", False) and not asked.reply(only.id, "x")


async def test_waiting_for_replies_comes_on_top_of_a_time_limit():
    asked = Questions(Outbox(10**6, 100))
    asked.begin(lambda id, content: None)
    never = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await within(0.1, asked, never)
    assert 0.09 < loop.time() - began < 1
    asked.heard(question())
    loop.call_later(0.5, asked.end)
    began = loop.time()
    await within(0.1, asked, never)
    assert loop.time() - began > 0.55
