"""A router that learned where the slow guard is right and the fast one wrong."""

import dataclasses

import numpy as np
import pytest

from routers.errors import DataError
from routers.options import build
from routers.steps import Refuse, Skip
from routers.workflows.guarded import Guarded
from routers.workflows.guards.models import GuardModels, learn
from tests.support.guard_worlds import guard_world
from tests.support.tasks import run, task


@pytest.fixture(scope="module")
def learned():
    return learn(*guard_world(4_000, seed=1), slow_share=0.15)


def test_at_the_same_share_of_slow_calls_it_is_better_than_uncertainty(learned):
    told = learned.figures
    # SafeRoute's world as simulated before: .777, .794, .789, .881 and .879.
    assert told["slow_share"] == pytest.approx(0.15, abs=0.002)
    assert told["fast"] == pytest.approx(0.777, abs=0.03)
    assert told["slow"] == pytest.approx(0.879, abs=0.03)
    assert told["router"] >= told["entropy"] + 0.05
    assert told["router"] >= told["random"] + 0.05
    assert told["router"] >= told["slow"] - 0.01
    assert told["router_routing_f1"] >= told["entropy_routing_f1"] + 0.1


def test_it_keeps_what_it_promised_on_prompts_that_come_later(learned):
    x, harmful, slow, _ = guard_world(4_000, seed=2)
    looks = [learned.models.look(each) for each in x]
    asked = np.array([needed > learned.epsilon for _, needed in looks])
    said = np.where(asked, slow, [chance >= 0.5 for chance, _ in looks])
    assert asked.mean() == pytest.approx(0.15, abs=0.02)
    assert (said == harmful).mean() == pytest.approx(learned.figures["router"], abs=0.02)


def test_the_workflow_asks_the_slow_guard_where_the_router_says_so(learned):
    x, harmful, slow, _ = guard_world(300, seed=3)
    guard = Guarded(epsilon=learned.epsilon, slow=None).restore(learned.models.state(), ())
    options = {"slow": {"model": "guard"}, "epsilon": learned.epsilon}
    asking = build(Guarded, options, noun="guard").restore(learned.models.state(), ())
    right = {"fast": 0, "both": 0}
    for row, bad, verdict in zip(x, harmful, slow, strict=True):
        request = task({"a": 1e-3, "b": 2e-3}, x=row)
        course = run(asking, request, {"guard": "unsafe" if verdict else "safe", "b": "B"})
        _, needed = learned.models.look(row)
        assert (request.guarding.verdict.by == "slow") == (needed > learned.epsilon)
        assert isinstance(course.end, Refuse | Skip)
        right["both"] += isinstance(course.end, Refuse) == bad
        fast = task({"a": 1e-3, "b": 2e-3}, x=row)
        right["fast"] += isinstance(run(guard, fast, {"b": "B"}).end, Refuse) == bad
        assert fast.guarding.verdict.by == "fast"
    assert right["both"] > right["fast"] + 0.05 * len(x)


def test_what_the_fast_guard_called_harmful_stays_so_where_the_slow_one_is_silent(learned):
    options = {
        "slow": {"model": "guard"},
        "always_slow": True,
        "on_failure": {"models": ["a"]},
    }
    guard = build(Guarded, options, noun="guard").restore(learned.models.state(), ())
    for looks, end in ((4.0, "Refuse"), (-4.0, "Delegate")):
        x = np.zeros(8, np.float32)
        x[0] = looks
        course = run(guard, task({"a": 1e-3, "b": 2e-3}, x=x), {"a": "A"})
        assert type(course.end).__name__ == end


def test_without_what_it_looks_at_it_closes(learned):
    guard = Guarded().restore(learned.models.state(), ())
    assert isinstance(run(guard, task({"a": 1e-3}), {"a": "A"}).end, Refuse)


def test_it_learns_the_same_from_the_same_and_forgets_nothing(learned):
    again = learn(*guard_world(4_000, seed=1), slow_share=0.15)
    for name, array in learned.models.state().items():
        assert array.tobytes() == again.models.state()[name].tobytes()
    restored = GuardModels.restore(learned.models.state())
    x = np.linspace(-1, 1, 8, dtype=np.float32)
    assert restored.look(x) == learned.models.look(x)
    assert dataclasses.asdict(learned)["figures"] == again.figures


@pytest.mark.parametrize("spoil", ["short", "nan", "absent"])
def test_arrays_that_do_not_fit_are_refused(learned, spoil):
    state = learned.models.state()
    if spoil == "short":
        state["router"] = state["router"][:-1]
    elif spoil == "nan":
        state["fast"] = state["fast"] * np.nan
    else:
        del state["fast"]
    with pytest.raises((KeyError, ValueError)):
        Guarded().restore(state, ())


def test_too_few_prompts_of_a_kind_are_said():
    x, harmful, slow, folds = guard_world(200, seed=4)
    with pytest.raises(DataError, match="20 prompts at least"):
        learn(x, np.zeros(200, bool), slow, folds)
    with pytest.raises(DataError, match="is it worth asking"):
        learn(x, harmful, ~harmful, folds)
