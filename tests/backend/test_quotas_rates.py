"""How often somebody may ask: buckets, whom they are for, and what a refused request gets."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.quotas.rates import BURST_LEAST, Buckets, by_address
from tests.support.app import serving, settings_for
from tests.support.people import NO_MODEL


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def drained(buckets: Buckets, key: str) -> int:
    """How many requests are let in at once."""
    return next(count for count in range(100_000) if buckets.take(key).wait_s)


def test_a_burst_is_let_in_and_then_the_rate():
    clock = Clock()
    buckets = Buckets(120, clock)
    assert drained(buckets, "ann") == 20
    assert buckets.take("ann").wait_s == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take("ann").wait_s == 0 < buckets.take("ann").wait_s
    clock.now += 3600
    assert drained(buckets, "ann") == 20  # an hour of silence saves up no more


def test_a_small_rate_still_lets_a_page_load():
    assert drained(Buckets(1, Clock()), "ann") == BURST_LEAST


def test_one_does_not_use_up_what_is_anothers():
    buckets = Buckets(60, Clock())
    drained(buckets, "ann")
    assert not buckets.take("bob").wait_s


def test_a_refused_request_costs_nothing():
    clock = Clock()
    buckets = Buckets(60, clock)
    drained(buckets, "ann")
    for _ in range(1000):
        assert buckets.take("ann").wait_s <= 1
    clock.now += 1
    assert not buckets.take("ann").wait_s


@given(st.lists(st.floats(-1e9, 1e9), max_size=30))
def test_a_clock_that_jumps_lets_nobody_in_twice_and_locks_nobody_out(jumps):
    clock = Clock()
    buckets = Buckets(60, clock)
    for jump in jumps:
        clock.now += jump
        assert drained(buckets, "ann") <= BURST_LEAST
        assert 0 < buckets.take("ann").wait_s <= 1


def test_many_addresses_take_bounded_memory():
    buckets = Buckets(60, Clock(), kept=100)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 100


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5000), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::/64"),
        (("testclient", 1), "testclient"),
        (None, None),
    ],
)
def test_who_has_an_address(client, key):
    assert by_address({"client": client}) == key


@pytest.fixture
async def app(tmp_path):
    settings = settings_for(tmp_path, NO_MODEL, kernel_url="http://127.0.0.1:9", executor_token="x" * 20,
                            rate_user_per_minute=1)  # fmt: skip
    async with serving(settings) as running:
        yield running


async def test_too_many_requests_are_refused_with_the_time_to_wait(app):
    http = await app.browser()
    for _ in range(50):
        async with http.get(f"{app.url}/api/conversations") as answer:
            body = await answer.json()
            if answer.status == 429:
                break
    else:
        pytest.fail("never refused")
    assert body["error"] == "TooMany" and "1 a minute" in body["detail"]
    assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"]
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert (answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]) == ("1", "0")
    async with http.get(f"{app.url}/v1/models") as answer:
        assert answer.status == 429 and (await answer.json())["error"]["code"] == "rate_limit_exceeded"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{app.url}/ws", headers={"Origin": app.url})
    assert refused.value.status == 403
    async with http.get(f"{app.url}/healthz") as answer:
        assert answer.status == 200  # whoever watches over the server is not people


async def test_an_address_is_refused_before_anybody_is_asked_who_it_is(tmp_path):
    settings = settings_for(tmp_path, NO_MODEL, kernel_url="http://127.0.0.1:9", executor_token="x" * 20,
                            rate_address_per_minute=1)  # fmt: skip
    async with serving(settings) as app, aiohttp.ClientSession() as stranger:
        seen = []
        for _ in range(50):
            async with stranger.get(f"{app.url}/api/conversations") as answer:
                seen.append(answer.status)
        assert set(seen) == {403, 429} and seen[:10] == [403] * 10
