"""No more than a share of the requests goes to capped models, in whatever order they come."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.guard import ANONYMOUS, Caller
from app.gateway.money.shares import ShareCap, Shares

DEAR = ShareCap(models=frozenset({"large", "frontier"}), share=0.25, burst=4)
RED = Caller(None, "key-1", "red")
ALSO_RED = Caller(None, "key-2", "red")


def route(shares, wishes, caller=ANONYMOUS, other="small"):
    """Send each request to the model it is worded for, unless that may not be; return where."""
    went = []
    for wish in wishes:
        model = other if wish in shares.exceeded(caller) else wish
        shares.went(caller, (model,))
        went.append(model)
    return went


def test_what_may_go_there_in_a_row_and_then_every_fourth():
    went = route(Shares(key=(DEAR,)), ["frontier"] * 44)
    assert went[:5] == ["frontier"] * 4 + ["small"]
    for begin in range(5, 40):
        assert went[begin : begin + 4].count("frontier") == 1


@given(
    wishes=st.lists(st.sampled_from(["small", "large", "frontier"]), max_size=120),
    share=st.floats(0, 1),
    burst=st.integers(1, 30),
)
def test_the_share_holds_over_any_stretch(wishes, share, burst):
    cap = ShareCap(models=DEAR.models, share=share, burst=burst)
    went = [model in DEAR.models for model in route(Shares(key=(cap,)), wishes)]
    begin = random.Random(len(wishes)).randint(0, len(went))
    for end in range(begin, len(went) + 1):
        assert sum(went[begin:end]) <= share * (end - begin) + burst + 1e-6


@given(
    turns=st.lists(st.integers(0, 3), max_size=120),
    share=st.floats(0, 1),
    burst=st.integers(1, 30),
    n=st.integers(1, 4),
)
def test_workers_have_one_burst_together(turns, share, burst, n):
    cap = ShareCap(models=DEAR.models, share=share, burst=burst)
    workers = [Shares(key=(cap,), n_processes=n) for _ in range(n)]
    went = [route(workers[turn % n], ["frontier"]) == ["frontier"] for turn in turns]
    assert sum(went) <= share * len(went) + max(burst, n) + 1e-6


@given(wishes=st.lists(st.sampled_from(["small", "large"]), max_size=60))
def test_whoever_asks_for_no_more_than_the_share_is_never_turned_away(wishes):
    patient = [wish for wish in wishes for wish in (wish, "small", "small", "small")]
    assert route(Shares(key=(DEAR,)), patient) == patient


def test_models_that_are_called_beside_the_decided_one_count_too():
    shares = Shares(key=(DEAR,))
    for _ in range(2):
        assert not shares.exceeded(ANONYMOUS)
        shares.went(ANONYMOUS, ("small",))
        shares.went_too(ANONYMOUS, ("large", "frontier", "medium", "large"))
    assert set(shares.exceeded(ANONYMOUS)) == DEAR.models
    assert len(route(shares, ["small"] * 2)) == 2
    assert shares.exceeded(ANONYMOUS)
    route(shares, ["small"])
    assert not shares.exceeded(ANONYMOUS)


@pytest.mark.parametrize(
    ("scope", "others_share_it"), [("gateway", True), ("teams", True), ("key", False)]
)
def test_a_cap_holds_for_its_scope(scope, others_share_it):
    shares = Shares(**{scope: {"red": (DEAR,)} if scope == "teams" else (DEAR,)})
    route(shares, ["large"] * 4, RED)
    assert ("frontier" in shares.exceeded(RED)) is True
    assert ("frontier" in shares.exceeded(ALSO_RED)) is others_share_it
    assert ("frontier" in shares.exceeded(ANONYMOUS)) is (scope == "gateway")


def test_several_caps_hold_at_once_and_say_why():
    none = ShareCap(models=frozenset({"frontier"}), share=0.0, burst=1)
    shares = Shares(key=(DEAR, none))
    assert route(shares, ["frontier", "frontier", "large"]) == ["frontier", "small", "large"]
    assert shares.exceeded(RED) == {}
    assert shares.exceeded(ANONYMOUS) == {
        "frontier": "its share of the requests of this key, 0% with a burst of 1, is used"
    }


def test_without_a_cap_nothing_is_followed():
    shares = Shares()
    shares.went(ANONYMOUS, ("large",))
    shares.went_too(ANONYMOUS, ("large",))
    assert not shares.exceeded(ANONYMOUS)
    assert not shares._saved
