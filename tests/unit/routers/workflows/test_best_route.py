import math
import random
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from routers.answers.recorded import RecordedAnswers
from routers.base import Labels
from routers.errors import DataError, NotFittedError
from routers.evaluation.course import drive
from routers.heads.base import HeadConfig
from routers.steps import Answer, Delegate, Serve, Skip
from routers.task import Room
from routers.types import Conversation, Predictions
from routers.workflows._best_of_samples import expected_best, match_chances
from routers.workflows.base import WorkflowContext
from routers.workflows.best_route import BestRoute
from tests.support.tasks import candidate, run, task

MODELS = ("small", "large")
POOL = (candidate("small", cost_usd=1.0), candidate("large", cost_usd=20.0))
N_SAMPLES = 20
HEAD = HeadConfig(kind="logistic", options={"c": 0.1})


def told(n=300, *, seed=0, n_samples=N_SAMPLES):
    """Return repeated outcomes of a small model that finds some queries hard, and of a large one.

    The first feature says how hard; prompts have 100 tokens that cost as much as those of answers.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    chance = np.stack([1 / (1 + np.exp(2 * x[:, 0])), np.full(n, 0.9)], axis=1)
    samples = (rng.random((n, 2, n_samples)) < chance[:, :, None]).astype(np.float32)
    tokens = rng.lognormal(np.log(100), 0.3, (n, 2))
    cost = (100 + tokens) / 200 * np.array([1.0, 20.0])
    return WorkflowContext(
        x=x,
        conversations=[Conversation.of("word " * 109) for _ in range(n)],
        labels=Labels(
            models=MODELS,
            quality=samples.mean(axis=2),
            output_tokens=tokens.astype(np.float32),
            samples=samples,
        ),
        predictions=Predictions(
            quality=chance.astype(np.float32),
            quality_std=np.full((n, 2), 0.1, np.float32),
            output_tokens=np.full((n, 2), 100, np.float32),
            output_tokens_upper=np.full((n, 2), 200, np.float32),
        ),
        answers=RecordedAnswers(models=MODELS, literals=np.full((n, 2), None, object)),
        cost_usd=cost,
        predicted_cost_usd=np.tile([1.0, 20.0], (n, 1)),
        folds=np.arange(n) % 4,
        rng=rng,
    )


@cache
def routing(**options):
    return BestRoute(head=HEAD, **options).fit(told())


def feature(hardness):
    return np.array([hardness, 0, 0], np.float32)


def asked(workflow, hardness, **options):
    request = task(POOL, model_id="large", x=feature(hardness), **options)
    return run(workflow, request, {"small": "A", "large": "B"})


# --- exact combinatorics ----------------------------------------------------------------------


def test_chances_are_those_worked_out_by_hand():
    samples = np.array([[0.0] * 15 + [1.0] * 5])
    chances = match_chances(samples, np.array([[1.0]]), 5)
    assert chances[0] == pytest.approx([0.25, 0.4474, 0.6009, 0.7183, 0.8063], abs=5e-5)


def test_chances_and_means_are_those_of_every_draw():
    rng = np.random.default_rng(0)
    samples, reference = rng.random((4, 7)).round(1), rng.random((4, 3)).round(1)
    samples[1, 5:] = np.nan
    reference[2, 1:] = np.nan
    chances, best = match_chances(samples, reference, 4), expected_best(samples, 4)
    for row in range(4):
        known = samples[row][~np.isnan(samples[row])]
        for n in range(1, 5):
            highest = np.array([max(each) for each in combinations(known, n)])
            bars = reference[row][~np.isnan(reference[row])]
            match = np.mean([(highest >= bar).mean() for bar in bars])
            assert chances[row, n - 1] == pytest.approx(match)
            assert best[row, n - 1] == pytest.approx(highest.mean())


def test_more_answers_than_there_are_samples_are_unknown():
    samples = np.array([[0.5, np.nan], [np.nan, np.nan], [0.2, 0.8]])
    chances = match_chances(samples, np.array([[0.5], [0.5], [np.nan]]), 3)
    assert np.isnan(chances).tolist() == [[False, True, True], [True] * 3, [True] * 3]
    assert np.isnan(expected_best(samples, 2)).tolist() == [
        [False, True],
        [True, True],
        [False, False],
    ]


# --- what is learned --------------------------------------------------------------------------


def test_chances_do_not_fall_with_the_number_of_answers():
    chances = routing().chances(told(seed=9).x)
    assert routing().ways_.tolist() == [[0, n] for n in range(1, 6)]
    assert (np.diff(chances, axis=1) >= 0).all()


def test_learned_chances_are_those_of_fresh_queries():
    fresh = told(400, seed=3)
    chances = routing().chances(fresh.x)
    samples = fresh.labels.samples.astype(float)
    true = match_chances(samples[:, 0], samples[:, 1], 5)
    assert np.abs(chances.mean(axis=0) - true.mean(axis=0)).max() < 0.04
    assert np.corrcoef(chances[:, 2], true[:, 2])[0, 1] > 0.8


def test_easy_queries_need_one_answer_harder_ones_several_and_the_hardest_the_reference():
    calls = [asked(routing(), each, usd_per_quality=None).calls for each in (-3, 0.0, 6)]
    assert calls[0] == ("small",)
    assert set(calls[1]) == {"small"}
    assert 1 < len(calls[1]) <= 5
    assert calls[2] == ("large",)


def test_a_chooser_that_votes_is_no_oracle():
    rng = random.Random(0)
    n, best, voted = 300, 0, 0
    workflow = BestRoute(head=HEAD, threshold=0.0, prompt_billed="each").fit(told())
    workflow.ways_ = workflow.ways_[[4]]  # five answers whatever they cost
    workflow.head_ = HEAD.build().fit(told().x, np.ones((300, 1)), rng=np.random.default_rng(0))
    for _ in range(n):
        said = [rng.choice(["right", "wrong", "other"]) for _ in range(5)]
        best += "right" in said

        def respond(step, number, said=said):
            return Answer(number=number, model_id=step.model_id, text=said[step.sample])

        request = task(POOL, usd_per_quality=None, x=feature(0), seed=rng.randrange(1000))
        voted += drive(workflow, request, respond).served.text == "right"
    assert 0.3 < voted / n < best / n - 0.2


def test_what_the_best_is_above_one_answer_is_reported():
    notes = routing(chooser_skill=0.5).notes()
    assert (notes["reference"], notes["most_answers"]) == ("large", 5)
    assert notes["quality_of_one"] < notes["quality_of_chosen"] < notes["quality_of_best"]
    middle = (notes["quality_of_one"] + notes["quality_of_best"]) / 2
    assert notes["quality_of_chosen"] == pytest.approx(middle, abs=1e-3)


# --- what it costs ----------------------------------------------------------------------------


def test_the_price_of_a_prompt_is_read_off_the_costs():
    assert routing().prompt_per_output_ == pytest.approx([1.0, 1.0], rel=0.05)


@pytest.mark.parametrize(("billed", "usd"), [("each", 3.0), ("once", 2.0)])
def test_a_prompt_is_paid_for_once_or_for_each_answer(billed, usd):
    # 100 tokens of prompt and 100 of answer at the same price: one answer costs 1.
    workflow = routing(prompt_billed=billed)
    assert workflow._expected_usd(POOL[0], 0, 3) == pytest.approx(usd, rel=0.1)
    assert workflow._expected_usd(POOL[0], 0, 1) == pytest.approx(1.0)


def test_expected_costs_are_those_that_are_booked():
    rates = (0.0, 2.0, 10.0, 40.0, 1000.0)
    fresh = told(200, seed=4)
    for rate in rates:
        expected = spent = 0.0
        for row in range(len(fresh.x)):
            request = task(POOL, usd_per_quality=rate, x=fresh.x[row])
            model_id, n, _ = routing()._way(request, fresh.x[row])
            usd = POOL[MODELS.index(model_id)].cost_usd
            expected += n * usd
            spent += run(routing(), request, {"small": "A", "large": "B"}).cost_usd
        assert spent == pytest.approx(expected)


def test_cost_rises_with_the_knob():
    costs = []
    for rate in (0.0, 1.0, 5.0, 20.0, 100.0, math.inf):
        spent = [asked(routing(), each, usd_per_quality=rate) for each in np.linspace(-3, 3, 15)]
        costs.append(sum(each.cost_usd for each in spent))
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(15.0)
    assert costs[-1] > 2 * costs[0]


# --- running ----------------------------------------------------------------------------------


def test_one_answer_streams_and_several_are_held_back():
    one = asked(routing(), -3, usd_per_quality=None)
    assert isinstance(one.end, Delegate)
    assert one.end.by == "best-route"
    several = asked(routing(), 0.0, usd_per_quality=None)
    assert isinstance(several.end, Serve)
    assert len(several.rounds) == 1


def test_the_reference_answers_where_all_cheap_answers_fail():
    request = task(POOL, usd_per_quality=None, x=feature(0.0))
    course = run(routing(), request, {"large": "B"})
    assert course.served.text == "B"
    assert course.end.why == "no answer to choose from"


def test_no_more_answers_are_asked_for_than_there_is_room_for():
    hardness = 0.0
    assert len(asked(routing(), hardness, usd_per_quality=None).calls) > 2
    few = asked(routing(), hardness, usd_per_quality=None, room=Room(calls=2))
    assert len(few.calls) <= 2
    poor = asked(routing(), hardness, usd_per_quality=None, room=Room(calls=9, cost_usd=3.0))
    assert poor.end == Skip(why="no_reference")


def test_without_features_or_the_reference_single_choice_answers():
    assert run(routing(), task(POOL), {"large": "B"}).end == Skip(why="nothing_to_go_by")
    alone = task(POOL[:1], usd_per_quality=None, x=feature(6))
    assert run(routing(), alone, {"small": "A"}).end == Skip(why="no_reference")


def test_single_outcomes_teach_routing_and_nothing_of_several_answers():
    single = told()
    single = replace(single, labels=replace(single.labels, samples=None))
    workflow = BestRoute(head=HEAD).fit(single)
    assert workflow.ways_.tolist() == [[0, 1]]
    assert any("several times" in each for each in workflow.doubts(MODELS))
    assert BestRoute(head=HEAD, n_max=1).fit(single).doubts(MODELS) == []


def test_a_reference_without_outcomes_is_refused():
    with pytest.raises(DataError, match="nobody"):
        BestRoute(reference="nobody").fit(told())
    with pytest.raises(NotFittedError, match="fitted"):
        next(BestRoute().run(task(POOL)))


def test_a_state_that_does_not_fit_is_refused():
    state = routing().state()
    with pytest.raises(ValueError, match="fit together"):
        BestRoute(head=HEAD).restore(state, ("small",))
    del state["head.coef"]
    with pytest.raises(KeyError):
        BestRoute(head=HEAD).restore(state, MODELS)
