import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from routers.answers.recorded import RecordedAnswers
from routers.base import Labels
from routers.errors import DataError, NotFittedError
from routers.evaluation.course import drive
from routers.steps import Answer, Question, Skip
from routers.task import Room
from routers.types import Conversation, Predictions
from routers.workflows.automix import AutoMix
from routers.workflows.base import WorkflowContext
from tests.support.tasks import candidate, run, task

MODELS = ("small", "large")
POOL = (candidate("small", cost_usd=1.0), candidate("large", cost_usd=50.0))
SHARES, SAYS_CORRECT = (0.30, 0.45, 0.25), (0.45, 0.80, 0.12)  # needy, good, hopeless


def context(n=1500, *, seed=0, chances=SAYS_CORRECT, verified=True):
    rng = np.random.default_rng(seed)
    state = rng.choice(3, n, p=SHARES)
    quality = np.stack([state == 1, state != 2], axis=1).astype(np.float32)
    share = np.full((n, 2), np.nan)
    share[:, 0] = rng.binomial(8, np.asarray(chances)[state]) / 8
    cost = np.tile([1.0, 50.0], (n, 1))
    nothing = np.zeros((n, 2), np.float32)
    return WorkflowContext(
        x=np.zeros((n, 1), np.float32),
        conversations=[Conversation.of(str(i)) for i in range(n)],
        labels=Labels(models=MODELS, quality=quality),
        predictions=Predictions(
            quality=nothing, quality_std=nothing, output_tokens=nothing, output_tokens_upper=nothing
        ),
        answers=RecordedAnswers(
            models=MODELS,
            literals=np.full((n, 2), "", object),
            verified=share if verified else None,
        ),
        cost_usd=cost,
        predicted_cost_usd=cost,
        folds=np.arange(n) % 5,
        rng=rng,
    )


def fitted(**options):
    return AutoMix(verifier_cost=1.0, **options).fit(context())


@cache
def voting():
    """Return an example that asks for votes; runs keep nothing, so that all may share it."""
    return fitted()


def replies(correct, votes=8):
    return ["Correct"] * correct + ["Incorrect"] * (votes - correct)


def said(votes, small="4", large="5"):
    """Return what the two models say, the small one to questions one vote after the other."""
    left = list(votes)

    def small_one(step):
        if isinstance(step, Question):
            return left.pop(0) if left else None
        return small

    return {"small": small_one, "large": large}


def course(workflow, votes, *, calls=32, usd_per_quality=None, **asked):
    request = task(POOL, room=Room(calls=calls), usd_per_quality=usd_per_quality, **asked)
    return run(workflow, request, said(votes))


def test_it_draws_the_votes_of_the_small_model_and_no_other():
    asked = []

    def respond(step, number):
        asked.append(step)
        return Answer(number=number, model_id=step.model_id, text="Correct")

    went = drive(voting(), task(POOL, usd_per_quality=None), respond)
    votes = [each for each in asked if isinstance(each, Question)]
    assert went.rounds == (("small",), ("small",) * 8)
    assert {(each.model_id, each.temperature) for each in votes} == {("small", 1.0)}
    assert went.end.by == "automix"
    assert went.end.score == 1.0


def test_the_hopeless_and_the_good_stay_and_the_needy_go_on():
    served = [course(voting(), replies(correct)).served.model_id for correct in range(9)]
    assert served[8] == served[7] == served[0] == "small"
    assert served[4] == "large"


def test_a_simulated_population_gains_what_its_tables_promised():
    rng = np.random.default_rng(5)
    quality, cost, n = 0.0, 0.0, 400
    for i in range(n):
        state = rng.choice(3, p=SHARES)
        went = course(voting(), replies(rng.binomial(8, SAYS_CORRECT[state])), seed=i)
        quality += state == 1 or (state == 0 and went.served.model_id == "large")
        # All eight votes together cost as much as an answer of the small model.
        cost += 1 + 1 + 50 * (went.calls[-1] == "large")
        assert went.calls.count("small") == 1 + 8
    slope, base = (quality / n - 0.45) / (cost / n - 1), 0.30 / 49
    # The gain on 20,000 queries is 136 %; these are 400.
    assert 100 * (slope / base - 1) == pytest.approx(136, abs=45)


@pytest.mark.parametrize("chances", [(0.5, 0.5, 0.5), (0.55, 0.6, 0.5)])
def test_votes_that_tell_nothing_are_not_asked_for(chances):
    workflow = AutoMix(verifier_cost=1.0).fit(context(chances=chances))
    went = course(workflow, replies(8))
    assert went.calls == ("large",)
    assert went.end == Skip(why="votes_tell_nothing")
    assert any("not worth asking" in each for each in workflow.doubts(MODELS))
    assert not workflow.notes()["verifies"]


def test_votes_that_cost_more_than_they_bring_are_not_asked_for():
    assert not AutoMix(verifier_cost=60.0).fit(context()).notes()["verifies"]
    assert AutoMix(verifier_cost=4.0).fit(context()).notes()["verifies"]


def test_without_recorded_votes_single_choice_answers():
    workflow = AutoMix().fit(context(verified=False))
    assert course(workflow, replies(8), model_id="large").calls == ("large",)
    assert workflow.notes()["verified_queries"] == 0


def test_the_benefit_is_reported_out_of_fold():
    notes = voting().notes()
    assert notes["incremental_benefit_percent"] == pytest.approx(136, abs=30)
    assert notes["auc"] > 0.9
    assert (notes["small"], notes["large"]) == MODELS


def test_the_knob_goes_from_the_small_model_to_the_large_one():
    seen = [
        Counter(
            course(voting(), replies(correct), usd_per_quality=rate).calls[-1]
            for correct in range(9)
        )["large"]
        for rate in (0.0, 1.0, 100.0, 200.0, 1e6, math.inf)
    ]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 9)
    assert 0 < seen[2] < 9
    assert course(voting(), [], usd_per_quality=0.0).calls == ("small",)
    assert course(voting(), [], usd_per_quality=math.inf).calls == ("large",)


@pytest.mark.parametrize("draft", [None, " "])
def test_a_draft_that_failed_or_is_empty_is_no_matter_for_votes(draft):
    went = run(voting(), task(POOL, usd_per_quality=None), said([], small=draft))
    assert went.calls == ("small", "large")


def test_where_most_votes_are_lost_the_large_model_answers():
    assert course(voting(), replies(3, 3)).calls[-1] == "large"
    assert course(voting(), replies(4, 4)).served.model_id == "small"


def test_the_draft_serves_where_the_large_model_cannot_be_had():
    went = run(voting(), task(POOL, usd_per_quality=None), said(replies(4), large=None))
    assert went.calls[-1] == "large"
    assert went.served.model_id == "small"


def test_too_few_calls_leave_single_choice():
    assert course(voting(), replies(8), calls=5).end == Skip(why="too_few_calls")
    fewer = course(voting(), replies(8), calls=7)
    assert fewer.calls[:1] == ("small",)
    assert len(fewer.calls) <= 7
    assert course(voting(), replies(0, 3) + replies(8, 3), calls=7).calls[-1] == "large"


def test_fixed_answers_escalate_whatever_the_votes_say():
    workflow = fitted(escalate=("Unanswerable",))
    request = task(POOL, usd_per_quality=None)
    went = run(workflow, request, said(replies(8), small=" unanswerable "))
    assert went.calls == ("small", "large")


def test_a_pair_that_cannot_be_is_refused():
    with pytest.raises(DataError, match="nobody"):
        AutoMix(small="nobody").fit(context())
    with pytest.raises(DataError, match="two models"):
        AutoMix(large="small").fit(context())
    with pytest.raises(NotFittedError, match="fitted"):
        next(AutoMix().run(task(POOL)))


def test_a_state_that_does_not_fit_is_refused():
    state = voting().state()
    with pytest.raises(ValueError, match="fit together"):
        AutoMix(votes=4).restore(state, MODELS)
    with pytest.raises(ValueError, match="fit together"):
        AutoMix().restore(state, ("small",))


def test_a_pair_that_is_not_whole_or_too_dear_leaves_single_choice():
    alone = run(voting(), task(POOL[1:]), said([]))
    assert alone.end == Skip(why="too_few_models")
    dear = run(voting(), task(POOL, room=Room(calls=32, cost_usd=60.0)), said([]))
    assert dear.end == Skip(why="max_cost")


def test_what_the_votes_said_is_noted():
    request = task(POOL, usd_per_quality=None)
    run(voting(), request, said(replies(4)))
    (verdict,) = request.verdicts
    assert (verdict.accepted, verdict.by, verdict.score) == (False, "automix", 0.5)
    assert verdict.why == "4 of 8 votes"
