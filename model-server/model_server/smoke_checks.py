"""The checks of `smoke`. Each returns why it is on, or raises Off or Unknown with why not; none needs a clever model."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

from model_server.probe import Answer, Message, Probe, Unreachable

ABORT_S = 10.0
"""How long a server may go on with a request whose client has gone."""
RUNNING = {"vllm:num_requests_running": "vllm:generation_tokens_total"}
RUNNING |= {"llamacpp:requests_processing": "llamacpp:tokens_predicted_total"}
"""The figure that says how many requests run, and the one that counts tokens written."""
SYSTEM = "You are a careful assistant who answers in plain words."
QUESTION = "Count from one to twenty in words."
LONG = 400
"""Tokens of text that fill several blocks of any prefix cache; on a CPU vLLM's hold 128."""


class Off(Exception):
    """It does not work."""


class Unknown(Exception):
    """This server does not let it be seen."""


def system(text: str = SYSTEM) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


async def key(probe: Probe) -> str:
    body = {"model": probe.model, "messages": [user("hi")], "max_tokens": 1}
    url = f"{probe.base}/chat/completions"
    for headers in ({}, {"Authorization": "Bearer " + secrets.token_hex(8)}):
        if (status := await probe.status(url, body, headers)) not in (401, 403):
            raise Off(f"without the right key it answers with status {status}: whoever reaches the port can use it")
    return "without the right key it refuses"


async def answer(probe: Probe) -> str:
    body = {"model": probe.model, "messages": [system(), user(QUESTION)], "max_tokens": 8, "temperature": 0}
    said = await probe.post_json(f"{probe.base}/chat/completions", body)
    choice, tokens = said["choices"][0], (said.get("usage") or {}).get("completion_tokens", 0)
    if not (choice["message"].get("content") or "").strip() and not tokens:
        raise Off(f"an empty answer, finish_reason {choice.get('finish_reason')}")
    return f"{tokens} tokens, finish_reason {choice.get('finish_reason')}"


async def streaming(probe: Probe) -> str:
    got = await _some(probe)
    if len(got.times) < 2:
        raise Off("the whole answer came in one piece: something between buffers it, or the server does not stream")
    first, last = got.times[0], got.times[-1]
    if got.reads < 2:
        raise Off(f"{len(got.times)} pieces came all at once, after {last:.2f} s: something between buffers them")
    if not got.done:
        raise Off("the stream ended without [DONE]")
    return f"{len(got.times)} pieces, the first after {first * 1000:.0f} ms, the last after {last * 1000:.0f} ms"


async def usage(probe: Probe) -> str:
    got = await _some(probe)
    if not got.usage.get("prompt_tokens") or not got.usage.get("completion_tokens"):
        raise Off("a stream does not say how many tokens it took (stream_options.include_usage)")
    return f"in streams: {got.usage['prompt_tokens']} tokens read, {got.usage['completion_tokens']} written"


async def stop_strings(probe: Probe) -> str:
    """A piece of what it writes anyway becomes the stop string, so any model will do."""
    whole = await _some(probe)
    word = stop_word(whole.text)
    if not word:
        raise Unknown(f"nothing in its answer can serve as a stop string: {whole.text[:60]!r}")
    got = await _some(probe, stop=[word])
    if got.finish != "stop":
        raise Off(f"finish_reason is {got.finish!r} after the stop string {word!r}")
    if word in got.text:
        raise Off(f"the stop string {word!r} stays in the text, which was not asked for")
    tells = f"stop_reason names it ({got.stop!r})" if got.stop == word else "no field says which one it was"
    return f"stripped, finish_reason stop; {tells}; {await _left_in(probe, word)}"


async def _left_in(probe: Probe, word: str) -> str:
    """Whether it can be asked to leave the stop string in the text, so that nothing is held back while it streams."""
    try:
        got = await _some(probe, stop=[word], include_stop_str_in_output=True)
    except Unreachable:
        return "it refuses include_stop_str_in_output"
    return "left in where asked to" if got.text.endswith(word) else "include_stop_str_in_output changes nothing"


def stop_word(text: str) -> str:
    """Two to six characters of `text` that come up after its beginning, for the first time where they were taken from."""
    for size in (6, 4, 3, 2):
        for start in range(2, len(text) - size):
            word = text[start : start + size]
            if text.find(word) == start and word.isascii() and word.isprintable() and word.strip() == word:
                return word
    return ""


async def chat_template(probe: Probe) -> str:
    """What the server makes of messages, read as the model reads it."""
    first = [system(), user(QUESTION)]
    longer = [*first, assistant("One, two."), user("Go on.")]
    rendered, whole = await rendered_by(probe, first), await rendered_by(probe, longer)
    texts = [message["content"] for message in longer]
    places = [whole.text.find(text) for text in texts]
    if places[0] < 0:
        raise Off("the system prompt is not in what the model reads")
    if -1 in places or places != sorted(places):
        raise Off("messages are missing from what the model reads, or out of order")
    if doubled := [mark for mark in ("<s>", "<|begin_of_text|>", "<bos>") if whole.text.startswith(mark * 2)]:
        raise Off(f"it begins with {doubled[0]} twice: the template and the server both add it")
    if "</s></s>" in whole.text or "<|im_end|><|im_end|>" in whole.text:
        raise Off("a message ends twice")
    steady = whole.text.startswith(rendered.text[: rendered.text.rfind(QUESTION) + len(QUESTION)])
    if not steady:
        raise Off("a longer conversation does not begin like the shorter one: the prefix cache cannot be used")
    got = await probe.ask(first, 1)
    read = got.usage.get("prompt_tokens")
    if rendered.tokens and read and read != rendered.tokens:
        raise Off(f"the model read {read} tokens, the template makes {rendered.tokens}: something is added, a mark twice?")
    return f"system prompt first, roles in order, stable beginning, {read or 'unknown'} tokens as rendered"


class Rendered:
    """Messages as one text; `tokens`: how many those are, 0 where the server does not say."""

    def __init__(self, text: str, tokens: int) -> None:
        self.text, self.tokens = text, tokens


async def rendered_by(probe: Probe, messages: list[Message]) -> Rendered:
    """vLLM: /tokenize; llama.cpp: /apply-template. Raises Unknown where the server has neither."""
    try:
        said = await probe.post_json(
            f"{probe.root}/tokenize", {"model": probe.model, "messages": messages, "return_token_strs": True}
        )
        if said.get("token_strs"):
            plain = await probe.post_json(f"{probe.root}/detokenize", {"model": probe.model, "tokens": said["tokens"]})
            return Rendered(_as_marked(plain["prompt"], said["token_strs"]), int(said["count"]))
    except (Unreachable, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        pass
    try:
        text = str((await probe.post_json(f"{probe.root}/apply-template", {"messages": messages}))["prompt"])
        tokens: list[Any] = (
            await probe.post_json(f"{probe.root}/tokenize", {"content": text, "add_special": True, "parse_special": True})
        )["tokens"]
        return Rendered(text, len(tokens))
    except (Unreachable, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise Unknown("the server does not show what it makes of messages") from None


def _as_marked(text: str, pieces: list[str]) -> str:
    """Turning tokens back into text may add the beginning-of-sequence mark that was not there."""
    for mark in ("<s>", "<|begin_of_text|>", "<bos>"):
        if text.startswith(mark) and (not pieces or pieces[0] != mark):
            return text.removeprefix(mark)
    return text


async def prefix_cache(probe: Probe) -> str:
    start = f"{secrets.token_hex(8)} is the name of this talk. " + "Be brief, exact and friendly. " * (LONG // 6)
    begun = [system(start), user("Name one fruit.")]
    first = await probe.ask(begun, 4)
    second = await probe.ask([*begun, assistant(first.text), user("Another one?")], 4)
    if second.cached is None:
        raise Unknown("it does not say how much it had cached (vLLM: --enable-prompt-tokens-details)")
    read = int(second.usage.get("prompt_tokens", 0))
    if second.cached <= (first.cached or 0) or second.cached * 2 < read:
        raise Off(f"of {read} tokens of a follow-up only {second.cached} came from the cache")
    return f"{second.cached} of {read} tokens of a follow-up came from the cache"


async def abort(probe: Probe) -> str:
    """Hangs up in the middle, and reads in the server's own figures when the request is gone."""
    figures = await probe.metrics()
    name = next((name for name in RUNNING if name in figures), "")
    if not name:
        raise Unknown("the server tells nobody how many requests it runs (/metrics)")
    if figures[name]:
        raise Unknown("others use this server just now; try again when it is idle")
    most = max(256, min((probe.context or 4096) // 2, 16_384))
    before, got = await _figure(probe, RUNNING[name]), Answer()
    async with probe.asking([system(), user(QUESTION)], most, got, ignore_eos=True) as pieces:
        async for _ in pieces:
            if await _figure(probe, name):
                break
        else:
            raise Unknown(f"it was done before it could be cut ({got.usage.get('completion_tokens')} tokens)")
    seconds = await _until_idle(probe, name)
    written = await _figure(probe, RUNNING[name]) - before
    if written >= most:
        raise Off(f"it wrote all {most} tokens although nobody read them")
    return (
        f"hung up after {len(got.times)} pieces; {name} is 0 after {seconds:.1f} s, {written:.0f} of {most} tokens written"
    )


async def _until_idle(probe: Probe, name: str) -> float:
    begun = time.monotonic()
    while await _figure(probe, name):
        if time.monotonic() - begun > ABORT_S:
            raise Off(f"{name} is not 0 {ABORT_S:.0f} s after the client has gone: work that nobody reads goes on")
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def _figure(probe: Probe, name: str) -> float:
    return (await probe.metrics()).get(name, 0.0)


async def _some(probe: Probe, **more: Any) -> Answer:
    """The same short answer every time: greedy, of one question."""
    return await probe.ask([system(), user(QUESTION)], 48, **more)
