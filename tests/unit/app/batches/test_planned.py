"""Which model takes which request of a batch, while money and places go."""

import pytest

from app.batches.door import Candidate
from app.batches.planned import Assignments
from app.batches.predictions import Predictions
from routers.decision.assignment import LeftOut

CHEAP, DEAR = 0.01, 0.1


def both(quality=(0.6, 0.9)):
    """Return what is predicted of a cheap model and a dear one."""
    return tuple(
        Candidate(model=model, quality=each, cost_usd=cost, cost_usd_upper=2 * cost)
        for model, each, cost in zip(("cheap", "dear"), quality, (CHEAP, DEAR), strict=True)
    )


def many(n):
    """Return requests that gain by the dear model, the later the more."""
    return {number: both((0.5, 0.6 + 0.3 * number / n)) for number in range(n)}


def planned(candidates, **terms):
    """Return the assignment of requests by their candidates."""
    predictions = Predictions()
    for number, known in candidates.items():
        predictions.add(number, known)
    return Assignments(predictions, **terms)


def test_the_budget_goes_where_it_buys_most():
    assignments = planned(many(10), budget_usd=10 * CHEAP + 3 * (DEAR - CHEAP), capacity={})
    plan = assignments.plan()
    assert plan.models == {"cheap": 7, "dear": 3}
    assert plan.left_out == 0
    assert [n for n in range(10) if assignments.take(n) == "dear"] == [7, 8, 9]


def test_answers_that_cost_more_leave_less_to_the_rest():
    assignments = planned(many(100), budget_usd=100 * CHEAP + 50 * (DEAR - CHEAP), capacity={})
    assert assignments.plan().models == {"cheap": 50, "dear": 50}
    for number in range(70, 100):
        model = assignments.take(number)
        assert model == "dear"
        assignments.settle(number, model, cost_usd=1.5 * DEAR, answered=True)
    assert assignments.is_due()
    left = 100 * CHEAP + 50 * (DEAR - CHEAP) - 30 * 1.5 * DEAR
    again = assignments.plan()
    assert again.cost_usd <= left
    assert sum(again.models.values()) == 70
    assert again.models["dear"] < 20


def test_what_is_on_its_way_is_not_spent_twice():
    assignments = planned(many(4), budget_usd=2.01 * DEAR + 2 * CHEAP, capacity={})
    assignments.plan()
    assert [assignments.take(number) for number in (2, 3)] == ["dear", "dear"]
    assert assignments.plan().models == {"cheap": 2}


def test_a_place_that_was_not_used_is_free_again():
    assignments = planned(many(3), budget_usd=None, capacity={"dear": 1})
    assignments.plan()
    assert assignments.take(2) == "dear"
    assert assignments.take(1) == "cheap"
    assignments.settle(2, "dear", cost_usd=0.0, answered=False)
    assert assignments.take(2, but={"dear"}) == "cheap"
    assert assignments.plan().models == {"dear": 1}


def test_nobody_is_taken_beyond_budget_or_capacity():
    assignments = planned(many(3), budget_usd=2 * CHEAP, capacity={"cheap": 1, "elsewhere": 5})
    plan = assignments.plan()
    assert (plan.models, plan.left_out) == ({"cheap": 1}, 2)
    answered = [number for number in range(3) if assignments.is_assigned(number)]
    assert [assignments.take(number) for number in answered] == ["cheap"]
    (other, _) = [number for number in range(3) if number not in answered]
    assert assignments.take(other) is None
    assert assignments.why_left_out(other) is LeftOut.BUDGET  # the dear one has room


def test_what_was_answered_or_lost_before_counts():
    assignments = planned(many(4), budget_usd=4 * DEAR, capacity={"dear": 3})
    assignments.answered_before(9, model="dear", cost_usd=DEAR)
    assignments.lost(assignments.predicted_usd(0, "dear") + assignments.predicted_usd(0, "gone"))
    plan = assignments.plan()
    assert plan.cost_usd <= 2 * DEAR
    assert plan.models["dear"] == 1


@pytest.mark.parametrize("candidates", [{}, {0: ()}])
def test_without_any_candidate_there_is_nothing_to_plan(candidates):
    assignments = planned(candidates, budget_usd=1.0, capacity={})
    assert assignments.plan().models == {}
    for number in candidates:
        assert not assignments.is_assigned(number)
        assert assignments.why_left_out(number) is LeftOut.NO_MODEL


def test_a_request_that_names_its_model_is_not_compared():
    pinned = (Candidate(model="dear", quality=None, cost_usd=DEAR, cost_usd_upper=DEAR),)
    assignments = planned({0: pinned}, budget_usd=1.0, capacity={})
    plan = assignments.plan()
    assert (plan.models, plan.quality) == ({"dear": 1}, None)
