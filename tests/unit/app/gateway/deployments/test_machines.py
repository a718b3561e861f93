import math
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.deployments.machines import Home, HostedModel, Machine, MachineRule

SIZES = {"a": 10.0, "b": 10.0, "c": 10.0, "large": 20.0}


def machine(*, memory_gb=20.0, **rule):
    models = {name: HostedModel(memory_gb=size, load_s=size) for name, size in SIZES.items()}
    return Machine(MachineRule(memory_gb=memory_gb, **rule), models)


def ask(it, name, now):
    """Have a call come and be answered when its model is there; return when that is."""
    at = now + it.wait_s(name, now)
    it.called(name, now)
    it.answers(name, at)
    it.ended(name, at)
    return at


def test_a_model_is_waited_for_once():
    it = machine()
    assert it.wait_s("a", 0.0) == 10.0
    assert not it.called("a", 0.0)
    assert it.wait_s("a", 4.0) == 6.0
    assert it.called("a", 4.0)
    assert it.wait_s("a", 11.0) == 0.0
    assert (it.n_calls, it.n_loads) == (2, 1)


def test_the_least_recently_used_leaves_for_what_does_not_fit():
    it, now = machine(), 0.0
    for name in "aba":
        now = ask(it, name, now)
    assert it.resident(now) == ("b", "a")
    now = ask(it, "c", now)
    assert it.resident(now) == ("a", "c")
    ask(it, "large", now)
    assert it.resident(now + 20.0) == ("large",)


def test_models_are_loaded_one_after_the_other():
    it = machine()
    it.called("a", 0.0)
    it.called("b", 0.0)
    assert it.wait_s("b", 1.0) == 19.0
    assert it.wait_s("c", 1.0) == 29.0


def test_an_answer_that_comes_early_says_that_its_model_is_loaded():
    it = machine()
    it.called("a", 0.0)
    it.answers("a", 3.0)
    assert it.wait_s("a", 3.0) == 0.0
    assert it.wait_s("b", 3.0) == 10.0


def test_a_call_that_failed_while_its_model_was_loaded_did_not_load_it():
    it = machine()
    it.called("a", 0.0)
    it.called("a", 1.0)
    it.ended("a", 2.0, failed=True)
    assert it.holds("a", 2.0)
    it.ended("a", 3.0, failed=True)
    assert not it.holds("a", 3.0)
    done = ask(it, "a", 3.0)
    it.called("a", done)
    it.ended("a", done + 1, failed=True)
    assert it.holds("a", done + 1)


def test_so_many_models_at_a_time():
    it = machine(memory_gb=None, max_models=2)
    now = 0.0
    for name in ("a", "b", "large"):
        now = ask(it, name, now)
    assert it.resident(now) == ("b", "large")


def test_a_model_that_nobody_asked_for_a_while_is_unloaded():
    it = machine(keep_alive_s=300.0)
    done = ask(it, "a", 0.0)
    assert it.holds("a", done + 300.0)
    assert not it.holds("a", done + 300.1)
    it.called("b", done)
    assert it.holds("b", done + 1e6), "a call is under way"


def test_what_a_machine_says_sets_the_picture_right():
    it = machine()
    now = ask(it, "a", 0.0)
    it.called("b", now)
    it.told(["c", "of nobody here"], now + 1.0)
    assert it.resident(now + 1.0) == ("c", "b"), "b is being loaded, a was unloaded"
    it.told(["c", "b"], now + 2.0)
    assert it.wait_s("b", now + 2.0) == 0.0
    it.told([], now + 2.0)
    assert it.resident(now + 2.0) == ()


def test_loading_costs_what_the_machine_does_meanwhile():
    home = Home(machine=machine(), name="large", usd_per_hour=3.6)
    assert home.load_usd == pytest.approx(0.02)
    assert home.wait_s(0.0) == home.load_s == 20.0


@given(
    calls=st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.floats(0, 50)), max_size=40),
    max_models=st.sampled_from([None, 1, 2]),
)
def test_it_holds_what_a_plain_count_of_uses_holds(calls, max_models):
    it, now, held = machine(memory_gb=40.0, max_models=max_models), 0.0, OrderedDict()
    for name, pause_s in calls:
        now = ask(it, name, now + pause_s)
        held.pop(name, None)
        while held and (
            sum(held.values()) + SIZES[name] > 40 or len(held) >= (max_models or math.inf)
        ):
            held.popitem(last=False)
        held[name] = SIZES[name]
        assert it.resident(now) == tuple(held)
