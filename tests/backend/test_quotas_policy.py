"""What somebody may use, as arithmetic: which limit holds, what is left, when it begins anew, what they are told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.quotas import policy
from orchestrator.quotas.policy import Standing
from orchestrator.quotas.schemas import Quota, QuotaLimit
from orchestrator.usage import DAY_S, MOST, QuotaSet, Used, What

NOON = 20_000 * DAY_S + DAY_S / 2
WHATS = st.sampled_from(list(What))
LIMITS = st.dictionaries(WHATS, st.none() | st.integers(0, MOST))


def test_the_nearest_limit_holds_each_for_itself():
    sets = [
        QuotaSet("default", "", {What.MESSAGES: 10, What.DISK: 10}),
        QuotaSet("group", "staff", {What.MESSAGES: 20, What.CPU_SECONDS: 20}),
        QuotaSet("group", "guests", {What.MESSAGES: 1}),
        QuotaSet("user", "ann", {What.MESSAGES: None, What.CPU_SECONDS: 0}),
    ]
    settings = {What.MODEL_TOKENS: 5, What.DISK: 5}
    both = {What.MODEL_TOKENS: 5, What.DISK: 10}
    assert policy.effective(settings, sets, "ann", "staff") == both | {What.CPU_SECONDS: 0}
    assert policy.effective(settings, sets, "bob", "staff") == both | {What.MESSAGES: 20, What.CPU_SECONDS: 20}
    assert policy.effective(settings, sets, "bob", "") == both | {What.MESSAGES: 10}
    assert policy.effective({}, [], "bob", "staff") == {}


def test_a_user_whose_id_is_a_groups_name_is_not_the_group():
    sets = [QuotaSet("group", "ann", {What.MESSAGES: 1})]
    assert policy.effective({}, sets, "ann", "") == {}


@given(settings=LIMITS, sets=st.lists(st.builds(QuotaSet, st.sampled_from(["group", "user"]), st.just("x"), LIMITS)))
def test_whoever_has_a_limit_is_looked_at(settings, sets):
    """The quick answer that needs no store may only say no where the slow one finds nothing."""
    for user, group in (("x", ""), ("y", "x"), ("x", "x"), ("y", "")):
        if policy.effective(settings, sets, user, group):
            assert policy.concerns(settings, sets, user)


def test_somebody_elses_limit_is_no_reason_to_look():
    assert not policy.concerns({}, [QuotaSet("user", "ann", {What.MESSAGES: 1})], "bob")
    assert not policy.concerns({What.MESSAGES: None}, [QuotaSet("default", "", {What.DISK: None})], "bob")


@given(used=st.integers(0, 2**60), most=st.none() | st.integers(0, MOST), at=st.floats(-1e6, 1e11))
def test_what_is_left_is_never_negative_and_the_reset_is_always_ahead(used, most, at):
    limits = {} if most is None else dict.fromkeys(What, most)
    for standing in policy.standings(limits, Used(used, used, used, used), at):
        assert standing.remaining is None or standing.remaining >= 0
        assert standing.resets_at is None or at < standing.resets_at <= at + DAY_S
        assert standing.spent == (most is not None and standing.used >= most)
        assert policy.retry_after(standing, at) > 0


def test_what_lasts_longest_is_what_one_is_told():
    limits = dict.fromkeys((What.MESSAGES, What.DISK), 1)
    spent = policy.first_spent(policy.standings(limits, Used(messages=5, disk=5), NOON))
    assert spent is not None and spent.what is What.DISK
    assert policy.first_spent(policy.standings(limits, Used(), NOON)) is None


@pytest.mark.parametrize("what", list(What))
def test_the_words_say_what_is_used_up_and_what_comes_next(what):
    resets = NOON + DAY_S / 2 if what in policy.DAILY else None
    words = policy.words(Standing(what, 2_000_000.0, 1_000_000, resets), NOON)
    assert re.search("1,000,000|977 KB", words) and words.endswith(".")
    assert "midnight UTC, in about 12 hours" in words if resets else re.search("Wait|Delete", words)


def test_the_words_for_nothing_at_all_and_for_one():
    assert "you may send none" in policy.words(Standing(What.MESSAGES, 0, 0, NOON + 60), NOON)
    words = policy.words(Standing(What.MESSAGES, 1, 1, NOON + 60), NOON)
    assert "1 message that" in words and "in 1 minute." in words


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "default", "name": "x", "limits": []},
        {"scope": "group", "name": "", "limits": []},
        {"scope": "user", "name": "x" * 65, "limits": []},
        {"scope": "user", "name": "x", "limits": [{"what": "messages", "most": -1}]},
        {"scope": "user", "name": "x", "limits": [{"what": "messages", "most": MOST + 1}]},
        {"scope": "user", "name": "x", "limits": [{"what": "messages", "most": 1.5}]},
        {"scope": "user", "name": "x", "limits": [{"what": "messages", "most": "NaN"}]},
        {"scope": "user", "name": "x", "limits": [{"what": "gold", "most": 1}]},
        {"scope": "user", "name": "x", "limits": [{"what": "disk", "most": 1}, {"what": "disk", "most": 2}]},
        {"scope": "everybody", "name": "", "limits": []},
    ],
)
def test_a_quota_that_makes_no_sense_is_not_one(body):
    with pytest.raises(ValidationError):
        Quota.model_validate(body)


def test_zero_and_the_largest_number_are_limits():
    limits = [QuotaLimit(what=What.DISK, most=0), QuotaLimit(what=What.MESSAGES, most=MOST)]
    assert Quota(scope="user", name="x", limits=limits).limits == limits
