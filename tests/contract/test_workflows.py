"""What every workflow promises, whatever its kind."""

import io
import math
import random
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from routers.errors import NotFittedError, RoutingConfigError
from routers.evaluation.course import drive
from routers.options import build, options_of
from routers.steps import Answer, Delegate, Question, Refuse, Serve, Skip
from routers.task import Room
from routers.workflows.base import WORKFLOWS, Workflow
from tests.support.tasks import candidate, task
from tests.support.workflow_examples import EXAMPLES, MODELS, context, example

POOL = tuple(
    candidate(model_id, quality=quality, cost_usd=cost_usd)
    for model_id, quality, cost_usd in zip(
        MODELS, (0.4, 0.6, 0.6, 0.9), (0.001, 0.003, 0.004, 0.02), strict=True
    )
)
RATES = (None, 0.0, 0.001, 0.01, 0.1, 1.0, math.inf)
TEXTS = ("A", "B", "", " ", "I cannot help with that.", "5", "Correct", "{", "\x00", "é" * 3000)
MOST_ROUNDS = 100
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,40}")

every_kind = pytest.mark.parametrize("kind", WORKFLOWS.kinds())

fitted = cache(example)
"""One example of each kind: runs keep nothing, so that all tests may share it."""


def nothing(step, number):
    del step, number


def of_texts(texts, *, seed, lost=0.2):
    """Return what comes of steps: a text drawn from some, or nothing at all."""
    rng = random.Random(seed)

    def respond(step, number):
        if rng.random() < lost:
            return None
        literal = None if isinstance(step, Question) else rng.choice([None, "A", "B", ""])
        return Answer(
            number=number,
            model_id=step.model_id,
            text=rng.choice(texts),
            literal=literal,
            output_tokens=rng.choice([None, 0.0, 60.0]),
            cost_usd=rng.choice([None, 0.001]),
            latency_s=rng.choice([None, 0.5]),
            finish_reason=rng.choice([None, "stop", "length", "content_filter"]),
            logprobs=rng.choice([None, (), (-0.1, -2.0), (math.nan,), (-math.inf,)]),
            alternatives=rng.choice([(), ({"Yes": -0.1, "5": -3.0},), ({},)]),
        )

    return respond


def courses(workflow: Workflow, *, candidates=POOL, n=4, calls=32, cost_usd=None, time_s=None):
    """Run a workflow on some requests, over the whole knob."""
    x = np.random.default_rng(3).normal(size=4).astype(np.float32)
    for rate in RATES:
        for seed in range(n):
            room = Room(calls=calls, cost_usd=cost_usd, time_s=time_s)
            request = task(candidates, usd_per_quality=rate, seed=seed, room=room, x=x)
            yield drive(workflow, request, of_texts(TEXTS, seed=seed))


@every_kind
def test_the_file_name_is_the_kind(kind):
    assert WORKFLOWS.get(kind).kind == kind


@every_kind
def test_an_end_is_named_and_explained_in_a_few_words(kind):
    for course in courses(fitted(kind)):
        end = course.end
        assert isinstance(end, Serve | Delegate | Refuse | Skip)
        assert NAME.fullmatch(end.why if isinstance(end, Skip) else end.by)
        assert len(end.why) <= 200
        assert end.why.isprintable()
        if isinstance(end, Serve | Delegate):
            assert 0 < end.propensity <= 1
        score = getattr(end, "score", None)
        assert score is None or math.isfinite(score)


@every_kind
def test_verdicts_are_of_what_was_heard_and_explained_in_a_few_words(kind):
    for seed in range(20):
        request = task(POOL, usd_per_quality=0.1, seed=seed)
        course = drive(fitted(kind), request, of_texts(TEXTS, seed=seed))
        for verdict in request.verdicts:
            assert verdict.answer in course.heard
            assert NAME.fullmatch(verdict.by)
            assert verdict.why.isprintable()
            assert verdict.score is None or math.isfinite(verdict.score)


@every_kind
def test_what_is_served_was_heard(kind):
    for course in courses(fitted(kind)):
        if isinstance(course.end, Serve):
            assert course.end.answer in course.heard
        elif isinstance(course.end, Delegate) and course.end.instead is not None:
            assert course.end.instead in course.heard


@every_kind
def test_only_models_that_may_be_called_are(kind):
    workflow = fitted(kind)
    for pool in (POOL, POOL[:2], POOL[1:3]):
        ids = [each.model_id for each in pool]
        allowed = {*ids, *workflow.asks(ids)}
        for course in courses(workflow, candidates=pool, n=2):
            assert set(course.calls) <= allowed


@every_kind
def test_it_survives_that_nothing_comes_of_any_step(kind):
    for rate in RATES:
        course = drive(fitted(kind), task(POOL, usd_per_quality=rate), nothing)
        assert course.served is None
        assert len(course.rounds) <= MOST_ROUNDS


@every_kind
@pytest.mark.parametrize("text", ["", " ", "\x00", "ok"])
def test_it_survives_that_all_say_the_same(kind, text):
    for rate in RATES:

        def respond(step, number):
            return Answer(number=number, model_id=step.model_id, text=text)

        course = drive(fitted(kind), task(POOL, usd_per_quality=rate), respond)
        assert len(course.rounds) <= MOST_ROUNDS


@every_kind
def test_a_pool_of_one_is_answered_by_that_one(kind):
    workflow = fitted(kind)
    for pool in (POOL[:1], POOL[2:3]):
        for course in courses(workflow, candidates=pool, n=2):
            beyond = set(workflow.asks([pool[0].model_id]))
            assert set(course.calls) <= {pool[0].model_id, *beyond}


@every_kind
def test_candidates_it_never_heard_of_are_no_error(kind):
    pool = (candidate("stranger"), candidate("foreigner", cost_usd=0.01))
    for course in courses(fitted(kind), candidates=pool, n=2):
        assert len(course.rounds) <= MOST_ROUNDS


@every_kind
def test_nothing_predicted_is_no_error(kind):
    pool = tuple(
        candidate(each, quality=None, cost_usd=None, output_tokens=None) for each in MODELS
    )
    request = task(pool, usd_per_quality=None)
    assert request.x is None
    drive(fitted(kind), request, of_texts(TEXTS, seed=0))
    for course in courses(fitted(kind), candidates=pool, n=1):
        assert len(course.rounds) <= MOST_ROUNDS


@every_kind
@pytest.mark.parametrize("calls", [1, 2, 3, 5])
def test_no_more_calls_are_made_than_there_is_room_for(kind, calls):
    for course in courses(fitted(kind), calls=calls):
        assert len(course.calls) <= calls


@every_kind
@pytest.mark.parametrize("cost_usd", [0.0, 0.002, 0.01])
def test_a_limit_of_cost_ends_it(kind, cost_usd):
    for course in courses(fitted(kind), cost_usd=cost_usd, n=2):
        assert len(course.rounds) <= MOST_ROUNDS


@every_kind
def test_no_time_left_ends_it(kind):
    for course in courses(fitted(kind), time_s=0.0, n=1):
        assert course.served is None


@every_kind
def test_a_workflow_says_what_it_goes_by(kind):
    workflow = fitted(kind)

    def course(seed, *, rate, x):
        request = task(POOL, usd_per_quality=rate, seed=seed, x=x)
        return drive(workflow, request, of_texts(TEXTS, seed=seed))

    x = np.ones(4, np.float32)
    for seed in range(5):
        if not workflow.reads_features:
            assert course(seed, rate=0.01, x=x) == course(seed, rate=0.01, x=None)
        if not workflow.heeds_knob:
            assert course(seed, rate=0.0, x=x) == course(seed, rate=math.inf, x=x)


@every_kind
def test_one_fold_is_enough_to_learn_from(kind):
    told = context()
    told = replace(told, folds=np.zeros(len(told.x), np.intp))
    example(kind, told).state()


@every_kind
def test_the_same_seed_takes_the_same_course(kind):
    assert list(courses(fitted(kind))) == list(courses(fitted(kind)))


@every_kind
def test_a_restored_workflow_takes_the_same_courses(kind):
    workflow = fitted(kind)
    file = io.BytesIO()
    np.savez(file, **workflow.state())
    file.seek(0)
    options = options_of(workflow)
    again = build(WORKFLOWS.get(kind), options, noun=kind)
    with np.load(file, allow_pickle=False) as state:
        again.restore(dict(state), MODELS)
    assert list(courses(again)) == list(courses(workflow))
    assert again.state().keys() == workflow.state().keys()
    assert options_of(again) == options


@every_kind
def test_the_same_recorded_answers_teach_the_same(kind):
    first, second = example(kind).state(), fitted(kind).state()
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes()


@every_kind
def test_what_learns_refuses_before_it_has(kind):
    workflow = build(WORKFLOWS.get(kind), EXAMPLES.get(kind, {}), noun=kind)
    assert workflow.doubts(MODELS) == []
    if workflow.learns:
        with pytest.raises(NotFittedError, match="fitted"):
            workflow.state()


@every_kind
def test_doubts_are_sentences(kind):
    workflow = fitted(kind)
    assert workflow.doubts(MODELS) == []
    for pool in ((), MODELS[:1], ("stranger",)):
        for doubt in workflow.doubts(pool):
            assert len(doubt) > 10
            assert "\n" not in doubt


@every_kind
def test_unknown_options_are_refused_by_name(kind):
    with pytest.raises(RoutingConfigError, match="nonsense"):
        build(WORKFLOWS.get(kind), {**EXAMPLES.get(kind, {}), "nonsense": 1}, noun=kind)
