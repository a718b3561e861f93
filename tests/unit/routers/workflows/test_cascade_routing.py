"""Routing and cascading at once: whom to call next by what was answered, and when to stop."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from routers.answers.recorded import RecordedAnswers
from routers.answers.telling import BLANK, tidied, worded
from routers.artifact.workflow_knob import MULTIPLES
from routers.decisions import CandidateEstimate
from routers.evaluation.course import drive
from routers.steps import Answer, Delegate, Serve, Skip
from routers.task import Room
from routers.workflows._belief import WEIGHTS, Belief, look_ahead, spread
from routers.workflows._crowd import worth_calling
from routers.workflows._literals import LiteralReader
from routers.workflows.cascade_routing import CascadeRouting
from tests.support.tasks import candidate, run, task
from tests.support.workflow_examples import MODELS, context

APART = 2.0


@pytest.fixture(scope="module")
def known():
    return context(400)


@pytest.fixture(scope="module")
def fitted(known):
    return CascadeRouting().fit(known)


def rehearsed(workflow, known, rates):
    """Return cost, quality and number of calls that a rehearsal came to, (n_rates, n_queries)."""
    quality = known.predictions.quality.astype(np.float64)
    found = workflow.rehearse(known.answers, quality, known.predicted_cost_usd, rates)
    cost = [
        [known.cost_usd[row, list(calls)].sum() for row, calls in enumerate(each)]
        for each in found.calls
    ]
    n_calls = [[len(calls) for calls in each] for each in found.calls]
    realised = known.labels.quality[np.arange(len(known.labels)), found.served]
    return np.asarray(cost), realised, np.asarray(n_calls)


RATES = (MULTIPLES * 0.01).tolist()


def estimates(known, row):
    return [
        CandidateEstimate(
            model_id=model,
            quality=float(known.predictions.quality[row, column]),
            quality_std=0.2,
            input_tokens=10,
            output_tokens=60.0,
            output_tokens_upper=120.0,
            cost_usd=float(known.predicted_cost_usd[row, column]),
            cost_usd_upper=1.0,
        )
        for column, model in enumerate(MODELS)
    ]


def recorded(known, row, step, number):
    column = MODELS.index(step.model_id)
    return Answer(
        number=number,
        model_id=step.model_id,
        text=known.answers.texts[row, column],
        literal=known.answers.literals[row, column],
        cost_usd=float(known.cost_usd[row, column]),
    )


def test_a_live_request_goes_as_it_was_rehearsed(known, fitted):
    rates = RATES[::6]
    cost, quality, n_calls = rehearsed(fitted, known, rates)
    for row in range(0, 400, 8):
        for i, rate in enumerate(rates):
            request = task(estimates(known, row), usd_per_quality=rate)
            course = drive(fitted, request, partial(recorded, known, row))
            column = MODELS.index(course.served.model_id)
            assert course.cost_usd == pytest.approx(cost[i, row])
            assert known.labels.quality[row, column] == quality[i, row]
            assert len(course.calls) == n_calls[i, row]


def test_answers_are_worth_more_than_the_best_model(known, fitted):
    fresh = context(400, seed=1)
    _, quality, n_calls = rehearsed(fitted, fresh, [math.inf])
    best = fresh.labels.quality.mean(axis=0).max()
    assert quality.mean() > best + 0.01
    assert n_calls.max() <= fitted.max_calls


def test_quality_and_cost_rise_with_the_exchange_rate(known, fitted):
    fresh = context(400, seed=2)
    cost, quality, _ = rehearsed(fitted, fresh, RATES[::4])
    assert (np.diff(cost.mean(axis=1)) > -1e-4).all()
    assert quality[-1].mean() > quality[0].mean() + 0.3


def test_what_was_restored_runs_alike(known, fitted):
    again = CascadeRouting().restore(fitted.state(), MODELS)
    rates = [0.0, 0.003, 0.02, math.inf]
    for first, second in zip(
        *[rehearsed(each, known, rates) for each in (fitted, again)], strict=True
    ):
        assert np.array_equal(first, second)
    with pytest.raises(ValueError, match="is not of 3 models"):
        CascadeRouting().restore(fitted.state(), MODELS[:3])


SAID = dict.fromkeys(MODELS, "A")


def test_nothing_is_held_back_where_one_call_is_all(known, fitted):
    end = run(fitted, task(estimates(known, 0), usd_per_quality=0.0), SAID).end
    assert end == Delegate(model_id="nano", by="cascade-routing", why="one call")
    room = Room(calls=1)
    assert isinstance(run(fitted, task(estimates(known, 0), room=room), SAID).end, Delegate)


def test_a_request_without_a_rate_or_predictions_is_left_to_single_choice(known, fitted):
    assert run(fitted, task(estimates(known, 0), usd_per_quality=None), SAID).end == Skip(
        why="objective"
    )
    unknown = [candidate("new", quality=None), candidate("other", cost_usd=None)]
    assert run(fitted, task(unknown), {}).end == Skip(why="candidates")


def test_models_may_be_missing_and_new(fitted):
    candidates = [
        candidate("mini", quality=0.6, cost_usd=1e-3),
        candidate("new", quality=0.7, cost_usd=2e-3),
        candidate("dear", quality=0.75, cost_usd=1e-2),
    ]
    said = {"mini": "B", "new": "A", "dear": "A"}
    course = run(fitted, task(candidates, usd_per_quality=math.inf), said)
    assert isinstance(course.end, Serve)
    assert set(course.calls) == {"mini", "new", "dear"}
    assert course.served.text == "A"


def test_failures_are_gone_round(known, fitted):
    request = task(estimates(known, 0), usd_per_quality=math.inf, model_id="large")
    course = run(fitted, request, {"nano": "A", "mini": "A"})
    assert isinstance(course.end, Serve)
    assert course.served.text == "A"
    request = task(estimates(known, 0), usd_per_quality=math.inf, model_id="large")
    assert run(fitted, request, {}).end == Delegate(
        model_id="large", by="cascade-routing", why="no answer"
    )


def test_what_may_cost_more_than_is_left_is_not_called(fitted):
    candidates = [
        candidate(each, cost_usd=cost) for each, cost in zip(MODELS, (1, 2, 3, 9), strict=True)
    ]
    request = task(candidates, usd_per_quality=math.inf, room=Room(calls=9, cost_usd=6.5))
    course = run(fitted, request, dict(zip(MODELS, "ABCD", strict=True)))
    assert course.calls
    assert "large" not in course.calls
    assert course.cost_usd <= 6.5


def test_what_most_probably_is_right_serves_whoever_said_it(known, fitted):
    strong = [replaced(each, 0.7) for each in estimates(known, 0)]
    request = task(strong, usd_per_quality=math.inf)
    course = run(fitted, request, {"nano": "A", "mini": "B", "middle": "B", "large": "C"})
    assert len(course.calls) >= 3
    assert course.served.text == "B"
    assert [each.accepted for each in request.verdicts].count(True) == 1


def replaced(estimate, quality):
    return candidate(estimate.model_id, quality=quality, cost_usd=estimate.cost_usd)


def test_an_empty_literal_is_an_answer_only_where_it_is_graded_as_one(known):
    literals = known.answers.literals.copy()
    blank = literals == "A"
    answers = replace(known.answers, literals=np.where(blank, "", literals))
    assert CascadeRouting().fit(replace(known, answers=answers)).reader_.blank_answers
    assert not CascadeRouting().fit(known).reader_.blank_answers


def test_answers_may_be_known_by_their_text_alone(known):
    literals = np.full_like(known.answers.literals, None)
    texts = np.where(known.answers.texts == "I think it is .", "", known.answers.texts)
    told = RecordedAnswers(models=MODELS, literals=literals, texts=texts)
    workflow = CascadeRouting(normaliser="exact").fit(replace(known, answers=told))
    _, quality, _ = rehearsed(workflow, replace(known, answers=told), [math.inf])
    assert quality.mean() > known.labels.quality.mean(axis=0).max()


@pytest.mark.parametrize(
    ("literal", "tidy"),
    [
        ("'ab'}```Thereasoning", "ab"),
        ("[1,2]", "[1,2]"),
        ("abc\\", "abc"),
        ("''", BLANK),
        ("", ""),
        ("}```", BLANK),
    ],
)
def test_what_reading_left_around_a_literal_is_taken_off(literal, tidy):
    assert tidied(literal) == tidy


@pytest.mark.parametrize(
    ("literal", "text", "wording"),
    [
        ("tmoajhouse", 'It is tmoajhouse? No.\n{"answer": "tm oajhouse"}', "tm oajhouse"),
        ("avdropjgsd", '"answer": "\'avdropj gsd  \'"', "avdropj gsd  "),
        ("a", '{"answer": " a"}', "a"),  # too short to be looked for
        ("hello", '"answer": "\\"hello\\""', "hello"),
        ("{1:2}", "so it is {1: 2}.", "{1: 2}"),
        ("[1,2]", "I do not know", "[1,2]"),
    ],
)
def test_a_literal_is_read_as_its_answer_words_it(literal, text, wording):
    assert worded(literal, text) == wording


@pytest.mark.parametrize("matters", [True, False])
def test_wordings_tell_answers_apart_only_where_they_are_graded_apart(known, matters):
    quality = known.labels.quality
    words = np.where(quality < 0.5, "It comes to 4 2", "It comes to 42")
    literals = np.full_like(known.answers.literals, "42")
    answers = RecordedAnswers(models=MODELS, literals=literals, texts=words.astype(object))
    graded = quality if matters else np.ones_like(quality)
    reader = LiteralReader.fit(answers, graded, "exact")
    assert reader.as_worded == matters
    first, second = (reader.read(f"It is {each}", "42") for each in ("42", "4 2"))
    assert reader.same(first, second) != matters


# --- the model of who is right ----------------------------------------------------------------


def crowd(odds, loading=1.5):
    odds = np.asarray([odds], np.float64)
    return spread(odds, np.full(odds.shape[1], loading))


def believed(chance, said, alike):
    belief = Belief.before(1, chance.shape[1])
    for model, literal in enumerate(said):
        belief = belief.heard(chance[:, model], literal, model, alike, APART)
    return belief


def test_all_that_may_be_said_is_as_probable_as_what_was_heard():
    chance, alike = crowd([0.5, 0.0, -0.5, 1.0]), np.ones((4, 4))
    belief = believed(chance, (0, 1), alike)
    outcomes = [belief.heard(chance[:, 2], each, 2, alike, APART) for each in (0, 1, 2)]
    assert sum(each.mass.sum() for each in outcomes) == pytest.approx(belief.mass.sum())


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_looking_ahead_is_the_expected_best_of_all_outcomes(depth):
    chance, alike = crowd([0.5, 0.0, -0.5, 1.0]), np.full((4, 4), 1.3)
    cost = np.asarray([[0.01, 0.02, 0.03, 0.05]])

    def by_hand(belief, called, depth):
        stop = belief.posterior.max() * belief.mass.sum()
        if depth == 0:
            return stop
        return max([stop, *(call(belief, called, model, depth) for model in {0, 1, 2, 3} - called)])

    def call(belief, called, model, depth):
        then = [
            belief.heard(chance[:, model], literal, model, alike, APART)
            for literal in range(belief.kin.shape[2] + 1)
        ]
        expected = sum(by_hand(each, called | {model}, depth - 1) for each in then)
        return expected - cost[0, model] * belief.mass.sum()

    belief = believed(chance, (0,), alike)
    able = np.asarray([[[False, True, True, True]]])
    found = look_ahead(
        belief,
        chance,
        cost,
        able,
        (np.ones(1), np.ones(1)),
        alike=alike,
        apart=APART,
        depth=depth,
    )
    wanted = [call(belief, {0}, model, depth) for model in (1, 2, 3)]
    assert found.call[0, 0, 1:, 0] == pytest.approx(wanted)
    assert found.stop[0, 0, 0] == pytest.approx(belief.posterior.max() * belief.mass.sum())


def test_strangers_that_agree_are_believed_more_than_relatives():
    chance, strangers = crowd([0.0, 0.0]), np.ones((2, 2))
    alone, agreeing, related, apart = (
        believed(chance, said, alike).posterior[0, 0, 0]
        for said, alike in (
            ((0,), strangers),
            ((0, 0), strangers),
            ((0, 0), 8 * strangers),
            ((0, 1), strangers),
        )
    )
    assert apart < alone < related < agreeing


def test_chances_average_to_what_is_known_of_a_model():
    odds = np.asarray([[-1.5, 0.0, 2.0]])
    for loading in (0.3, 2.0):
        mean = spread(odds, np.full(3, loading)) @ WEIGHTS
        assert mean == pytest.approx(1 / (1 + np.exp(-odds)), abs=0.02)


def test_what_others_beat_in_quality_and_cost_is_not_worth_calling():
    quality = np.asarray([[0.5, 0.6, 0.4, 0.9, 0.3]])
    cost = np.asarray([[1.0, 2.0, 3.0, 4.0, np.inf]])
    found = worth_calling(quality, cost, dominators=2, most=9)
    assert found.tolist() == [[True, True, False, True, False]]
    assert worth_calling(quality, cost, dominators=2, most=2).sum() == 2
