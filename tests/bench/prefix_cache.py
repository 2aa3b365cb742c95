"""How much of every prompt the model server has seen before, over forty turns with outputs, against the most that it could
have: every full block of the previous prompt and of what was written after it."""

from __future__ import annotations

from tests.bench.harness import Chat, product, report
from tests.support.model_server import BLOCK, ScriptedModel
from tests.support.scripts import TOKEN, Reply, Request, action

NAMES = ("prefix_cache",)
TURNS = 40


def script(request: Request) -> Reply:
    """Outputs of many sizes: none, short, long enough to be clipped, errors, tables, a figure now and then."""
    if request.observes:
        return Reply("As the output shows, that is the result; what would you like to see next?")
    codes = [
        "x = {n}",
        "print('value', {n} ** 7)",
        "print('line\\n' * 3000)",
        "1 / ({n} - {n})",
        "import pandas as pd; pd.DataFrame({{'a': range({n}), 'b': range({n})}})",
        "import matplotlib.pyplot as plt; _ = plt.plot(range({n})); plt.show()",
    ]
    turn = request.answers // 2
    return action(codes[turn % len(codes)].format(n=turn), "codeact", "Let me compute that. ")


async def measure() -> None:
    async with (
        ScriptedModel(script) as model,
        product(model.base_url, CODEACT_MODEL_CONTEXT_TOKENS="1000000") as served,
    ):
        chat = await Chat.open(served)
        for n in range(TURNS):
            chat.say(f"Question number {n}: what comes out?")
            closed = await chat.closed()
            assert b'"answered"' in closed, closed
        chat.close()
    exchanges = model.exchanges
    ideal = [before.learnt // BLOCK * BLOCK // TOKEN for before in exchanges[:-1]]
    cached = [exchange.cached_tokens for exchange in exchanges[1:]]
    shares = [got / most for got, most in zip(cached, ideal, strict=True)]
    report(
        "prefix_cache",
        sum(cached) / len(cached),
        "tokens cached per request",
        against="every full block of the previous prompt and answer",
        ratio=sum(cached) / sum(ideal),
        samples=shares,
    )
