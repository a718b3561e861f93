import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from routers.answers.normalise import Comparing
from routers.errors import DataError, NotFittedError
from routers.evaluation.course import drive
from routers.steps import Answer, Delegate, Skip
from routers.task import Room
from routers.workflows._answer_scorer import (
    SIGNALS,
    AnswerScorer,
    agreement,
    cross_scores,
    heard,
    heard_before,
)
from routers.workflows.frugal_gpt import FrugalGPT
from tests.support.tasks import candidate, run, task
from tests.support.workflow_examples import MODELS, context

MEAN_USD = {"nano": 0.001, "mini": 0.003, "middle": 0.004, "large": 0.02}
POOL = tuple(candidate(each, cost_usd=usd) for each, usd in MEAN_USD.items())
TOLD = context(400)
RATES = (0.0, 1e-3, 5e-3, 0.02, 0.1, 1.0, math.inf)


def fitted(told=TOLD, **options):
    return FrugalGPT(**{"slack": 1.0, "n_quantiles": 8, **options}).fit(told)


@cache
def chains():
    """Return chains whatever single choice would reach; runs keep nothing, so all may share it."""
    return fitted(least_evidence=None)


def realised(workflow, rate, *, told=TOLD, n=150):
    """Return mean quality and cost of a workflow on recorded answers, and who was called."""
    quality = cost = 0.0
    calls = []
    for row in range(n):
        pool = tuple(
            candidate(
                each, quality=float(told.predictions.quality[row, i]), cost_usd=MEAN_USD[each]
            )
            for i, each in enumerate(MODELS)
        )

        def respond(step, number, row=row):
            column = MODELS.index(step.model_id)
            return Answer(
                number=number,
                model_id=step.model_id,
                text=told.answers.texts[row, column],
                literal=told.answers.literals[row, column],
                output_tokens=float(told.labels.output_tokens[row, column]),
                cost_usd=float(told.cost_usd[row, column]),
            )

        course = drive(workflow, task(pool, usd_per_quality=rate, model_id="large"), respond)
        quality += float(told.labels.quality[row, MODELS.index(course.served.model_id)])
        cost += course.cost_usd
        calls.append(course.calls)
    return quality / n, cost / n, calls


FRESH = context(150, seed=5)


def test_chains_go_from_the_cheapest_model_to_the_best_answers():
    points = [realised(chains(), rate, told=FRESH) for rate in RATES]
    costs = [cost for _, cost, _ in points]
    assert costs == sorted(costs)
    assert set(points[0][2]) == {("nano",)}
    assert points[-1][0] > points[0][0] + 0.2


def test_a_chain_is_better_than_its_dearest_model_at_less_cost():
    large = MODELS.index("large")
    alone = FRESH.labels.quality[:150, large].mean(), FRESH.cost_usd[:150, large].mean()
    quality, cost, calls = realised(chains(), 0.2, told=FRESH)
    assert quality > alone[0] - 0.02
    assert cost < 0.95 * alone[1]
    assert len({len(each) for each in calls}) > 1


def test_scores_are_those_of_scorers_that_have_not_seen_the_query():
    seen = []
    signals, same = np.zeros((10, 2, len(SIGNALS))), np.zeros((10, 2, 2))
    scorer = AnswerScorer(
        first=np.zeros((2, len(SIGNALS) + 1)),
        second=np.zeros((2, 5)),
        usual=np.zeros((2, len(SIGNALS))),
    )
    folds = np.arange(10) % 3

    def learned(known):
        seen.append(known)
        return scorer

    cross_scores(learned, signals, same, folds)
    assert [set(folds[known]) for known in seen] == [{1, 2}, {0, 2}, {0, 1}]


def test_scorers_that_learned_noise_promise_nothing_on_their_own_queries():
    rng = np.random.default_rng(0)
    signals, same = rng.normal(size=(90, 1, len(SIGNALS))), np.zeros((90, 1, 1))
    right = (rng.random((90, 1)) < 0.5).astype(np.float32)

    def learned(known):
        return AnswerScorer.fit(signals[known], same[known], right[known], rng=rng)

    leaked, _ = learned(np.full(90, fill_value=True)).scores(signals, same)
    crossed, _ = cross_scores(learned, signals, same, np.arange(90) % 5)
    gap = [scores[right > 0].mean() - scores[right == 0].mean() for scores in (leaked, crossed)]
    assert gap[0] > 0.05
    assert gap[1] < 0.02


def test_single_choice_answers_where_chains_do_not_beat_it():
    # Answers that all say the same, and as long whether right or wrong, tell nothing.
    silent = replace(
        TOLD,
        labels=replace(TOLD.labels, output_tokens=np.full((400, 4), 60, np.float32)),
        answers=replace(TOLD.answers, literals=np.full((400, 4), "A", object), texts=None),
    )
    workflow = fitted(silent, least_evidence=2.0)
    assert not workflow.pays_[-1]
    end = run(workflow, task(POOL, usd_per_quality=math.inf), {"large": "A"}).end
    assert end == Skip(why="single_choice")


def test_where_chains_pay_they_are_taken():
    workflow = fitted(least_evidence=0.5)
    assert workflow.pays_.any()
    assert workflow.doubts(MODELS) == []
    assert 0 < workflow.notes()["share_of_rates_with_chains"] <= 1


def test_that_two_answers_agree_raises_the_second_one_s_score():
    column = chains().pool_.tolist().index(MODELS.index("mini"))
    before = chains().pool_.tolist().index(MODELS.index("nano"))
    usual = chains().scorer_.usual
    agrees, differs = (
        chains().scorer_.score_after(column, usual[column], (before, usual[before]), agrees=same)
        for same in (True, False)
    )
    assert agrees > differs + 0.1


def test_without_agreement_a_score_is_of_the_answer_alone():
    alone = fitted(agreement=False, max_stages=2, least_evidence=None)
    calls = {
        other: run(alone, task(POOL, usd_per_quality=0.02), {"nano": other, "mini": "A"}).calls
        for other in ("A", "B")
    }
    assert calls["A"] == calls["B"]


def test_a_single_run_scores_as_the_search_did():
    columns = chains().pool_.tolist()
    compare = Comparing()
    signals, readings = heard_before(TOLD, columns, compare=compare)
    first, second = chains().scorer_.scores(signals, agreement(readings, compare))
    for row in range(20):
        pool = [
            replace_estimate(each, TOLD, row, column)
            for column, each in enumerate(candidate(name) for name in MODELS)
        ]
        said = [
            heard(
                Answer(
                    number=0,
                    model_id=MODELS[column],
                    text=TOLD.answers.texts[row, column],
                    literal=TOLD.answers.literals[row, column],
                    output_tokens=float(TOLD.labels.output_tokens[row, column]),
                ),
                pool,
                compare=compare,
            )
            for column in columns
        ]
        assert chains().scorer_.score(0, said[0].signals) == pytest.approx(first[row, 0])
        after = chains().scorer_.score_after(
            1,
            said[1].signals,
            (0, said[0].signals),
            agrees=compare.same(said[0].reading, said[1].reading),
        )
        assert after == pytest.approx(second[row, 0, 1])


def replace_estimate(estimate, told, row, column):
    return candidate(
        estimate.model_id,
        quality=float(told.predictions.quality[row, column]),
        output_tokens=float(told.predictions.output_tokens[row, column]),
    )


def test_chains_with_models_that_may_not_be_called_are_left_aside():
    for gone in MODELS:
        pool = [each for each in POOL if each.model_id != gone]
        for rate in RATES:
            course = run(chains(), task(pool, usd_per_quality=rate), dict.fromkeys(MODELS, "A"))
            assert gone not in course.calls
            assert not isinstance(course.end, Skip)


def test_chains_too_long_or_too_dear_are_left_aside():
    for rate in RATES:
        one = run(chains(), task(POOL, usd_per_quality=rate, room=Room(calls=1)), {"nano": "B"})
        assert len(one.calls) == 1
        room = Room(calls=9, cost_usd=0.003)
        cheap = run(chains(), task(POOL, usd_per_quality=rate, room=room), {"nano": "B"})
        assert set(cheap.calls) == {"nano"}


def test_without_a_knob_the_budget_chooses():
    workflow = fitted(budget_usd=0.006, least_evidence=None)
    assert realised(workflow, None)[1] == pytest.approx(0.006, rel=0.35)
    quality = chains().chains_.quality
    assert quality[0] == quality.max()


def test_the_best_answer_at_hand_serves_where_the_last_model_fails():
    request = task(POOL, usd_per_quality=1.0)
    course = run(chains(), request, dict.fromkeys(MODELS[:3], "Perhaps."), literal="")
    assert isinstance(course.end, Delegate)
    assert course.end.model_id == "large"
    scores = {each.answer.model_id: each.score for each in request.verdicts}
    assert len(scores) == 2
    assert course.served.model_id == max(scores, key=scores.__getitem__)


def test_too_few_complete_queries_are_refused():
    with pytest.raises(DataError, match="answered"):
        FrugalGPT().fit(context(30))
    holes = TOLD.labels.quality.copy()
    holes[np.arange(400), np.arange(400) % 4] = np.nan
    with pytest.raises(DataError, match="answered"):
        fitted(replace(TOLD, labels=replace(TOLD.labels, quality=holes)))
    with pytest.raises(NotFittedError, match="fitted"):
        next(FrugalGPT().run(task(POOL)))


def test_a_state_that_does_not_fit_is_refused():
    state = chains().state()
    with pytest.raises(ValueError, match="fit together"):
        FrugalGPT().restore(state, MODELS[:2])
    with pytest.raises(ValueError, match="fit together"):
        FrugalGPT().restore({**state, "scorer.usual": state["scorer.usual"][:, :3]}, MODELS)
