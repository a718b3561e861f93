"""Thresholds between a cheap and a strong model that are learned from one-sided feedback."""

import math
from functools import cache

import numpy as np
import pytest

from routers.answers.recorded import RecordedAnswers
from routers.base import Labels
from routers.errors import RoutingConfigError
from routers.steps import Answer, Delegate, Serve, Skip
from routers.types import Conversation, Predictions
from routers.workflows.base import WorkflowContext
from routers.workflows.learned_threshold import LearnedThreshold
from routers.workflows.learning.cells import CellBeliefs
from routers.workflows.learning.lessons import Lesson
from tests.support.tasks import candidate, run, task
from tests.support.threshold_worlds import (
    NEEDLE,
    PRICES,
    PRICES_AT_ATOM,
    KeepWorld,
    guess_thresholds,
    improving,
    keep_or_escalate,
    leaping,
    lipschitz,
    one_sided,
    uniform,
    with_atoms,
)

JUDGED = {"kind": "judge", "model": "judge", "auc": 0.8}
LEARNERS = ["greedy", "thompson", "ucb"]
HORIZONS = [2_000, 4_000, 8_000, 16_000]
FEW = {"n_worlds": 6, "at_once": 100, "seed": 0}


def threshold(**options):
    plain = {"cheap": "nano", "strong": "large", "verifier": JUDGED, "shadow": 1e-9, "checked": 0.0}
    return LearnedThreshold(**{**plain, **options})


def request(score=0.55, *, usd_per_quality=0.1, **fields):
    estimates = [
        candidate("nano", quality=score, cost_usd=1e-4),
        candidate("large", quality=0.8, cost_usd=1e-2),
    ]
    return task(estimates, usd_per_quality=usd_per_quality, **fields)


def answer(model_id, text="A"):
    return Answer(number=0, model_id=model_id, text=text)


def verdict(told, model_id, *, good):
    told.judged(answer(model_id), accepted=good, by="judge", score=float(good), why="")
    return told


def teach(workflow, model_id, *, good, n, score=0.55):
    for _ in range(n):
        workflow.absorb(workflow.lesson(verdict(request(score), model_id, good=good)))


# --- a request ----------------------------------------------------------------------------------


def test_the_cheap_model_answers_where_it_is_good_enough_and_streams():
    for score, served in ((0.9, "nano"), (0.2, "large")):
        course = run(threshold(learner="greedy"), request(score), {"nano": "A", "large": "B"})
        assert isinstance(course.end, Delegate)
        assert course.calls == (served,)


def test_what_quality_is_worth_decides_how_much_the_lower_cost_gains():
    for usd_per_quality, served in ((0.01, "nano"), (10.0, "large"), (math.inf, "large")):
        told = request(0.55, usd_per_quality=usd_per_quality)
        course = run(threshold(learner="greedy"), told, {"nano": "A", "large": "B"})
        assert course.calls == (served,)


def test_a_threshold_that_is_told_is_no_lesson():
    told = threshold(threshold=0.5, verifier=None)
    assert run(told, request(0.5), {"nano": "A"}).calls == ("nano",)
    assert run(told, request(0.49), {"large": "B"}).calls == ("large",)
    assert not told.learns_online
    assert told.doubts(("nano", "large")) == []
    assert told.lesson(request()) is None


def test_without_one_of_the_two_there_is_no_threshold():
    course = run(threshold(), task([candidate("large")]), {"large": "B"})
    assert course.end == Skip(why="one_stage")


def test_propensities_are_the_shares_with_which_models_are_chosen():
    workflow = threshold()
    chosen = {"nano": [], "large": []}
    for seed in range(1_000):
        course = run(workflow, request(0.68, seed=seed), {"nano": "A", "large": "B"})
        chosen[course.end.model_id].append(course.end.propensity)
    for propensities in chosen.values():
        assert len(set(propensities)) == 1
        assert len(propensities) / 1_000 == pytest.approx(propensities[0], abs=0.04)
        assert 0.1 < propensities[0] < 0.9


def test_learners_that_draw_nothing_are_certain_of_their_choice():
    for learner in ("greedy", "ucb"):
        course = run(threshold(learner=learner), request(), {"nano": "A", "large": "B"})
        assert course.end.propensity == 1.0


# --- what it needs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"verifier": None}, "needs a `verifier`"),
        ({"verifier": {**JUDGED, "auc": 0.6}}, "AUC 0.6"),
        ({"shadow": 0.0}, "without a `shadow`"),
        ({"cheap": "stranger"}, "'stranger', which is not among"),
    ],
)
def test_it_says_what_keeps_it_from_working(options, says):
    (doubt,) = threshold(**options).doubts(("nano", "large"))
    assert says in doubt


def test_one_model_alone_has_no_threshold():
    with pytest.raises(RoutingConfigError, match="two models"):
        threshold(cheap="large")


# --- what requests teach ------------------------------------------------------------------------


SHADOWED = {"shadow": 1.0, "learner": "greedy"}
CHECKED = {"checked": 1.0, "learner": "greedy"}


def test_the_cheap_model_is_asked_in_the_shadow_and_both_answers_are_verified():
    workflow, told = threshold(**SHADOWED), request()
    said = {
        "nano": "A",
        "large": "B",
        "judge": lambda step: "5" if "B" in step.messages[-1].text.split("answer-")[1] else "2",
    }
    course = run(workflow, told, said)
    assert course.rounds == (("large", "nano"), ("judge", "judge"))
    assert course.served.text == "B"
    assert [(each.answer.model_id, each.accepted) for each in told.verdicts] == [
        ("large", True),
        ("nano", False),
    ]
    lesson = workflow.lesson(told)
    assert (lesson.sums["tried"].sum(), lesson.sums["good"].sum()) == (2, 1)


def test_a_shadow_that_cannot_be_had_teaches_nothing_of_either():
    told = request()
    course = run(threshold(**SHADOWED), told, {"large": "B", "judge": "5"})
    assert (course.served.text, course.rounds) == ("B", (("large", "nano"),))
    assert told.verdicts == []


def test_a_strong_model_that_fails_in_front_of_its_shadow_is_asked_again():
    course = run(threshold(**SHADOWED), request(), {"nano": "A", "judge": "5"})
    assert course.rounds == (("large", "nano"), ("large",))
    assert course.served.text == "A"


def test_an_answer_that_is_checked_is_served_whatever_the_verdict():
    told = request(0.9)
    course = run(threshold(**CHECKED), told, {"nano": "A", "judge": "1"})
    assert course.calls == ("nano", "judge")
    assert course.served.text == "A"
    assert [each.accepted for each in told.verdicts] == [False]


@pytest.mark.parametrize(("score", "share"), [(0.2, 0.1), (0.9, 0.2)])
def test_the_shares_that_are_looked_into_are_as_told(score, share):
    workflow = threshold(shadow=0.1, checked=0.2, learner="greedy")
    said = {"nano": "A", "large": "B", "judge": "5"}
    ends = [run(workflow, request(score, seed=seed), said).end for seed in range(600)]
    looked = sum(isinstance(end, Serve) for end in ends)
    assert looked / 600 == pytest.approx(share, abs=0.05)


def test_verdicts_move_the_threshold_and_its_interval_shrinks():
    workflow = threshold()
    for score in (0.3, 0.41, 0.47, 0.53, 0.59, 0.66, 0.72, 0.78, 0.84, 0.91, 0.97):
        teach(workflow, "nano", good=True, n=40, score=score)
    teach(workflow, "nano", good=False, n=40, score=0.34)
    before, after = threshold().learned(request()), workflow.learned(request())
    assert before.value == 0.6875  # a tenth is for the lower cost
    assert after.value == pytest.approx(0.375)
    assert after.low <= after.value <= after.high
    assert after.high - after.low < before.high - before.low


def test_what_is_learned_of_one_score_says_nothing_of_others():
    workflow = threshold(learner="greedy")
    teach(workflow, "nano", good=True, n=50)
    assert run(workflow, request(0.55), {"nano": "A"}).calls == ("nano",)
    assert run(workflow, request(0.45), {"large": "B"}).calls == ("large",)


def test_a_strong_model_that_fails_its_verifier_too_is_no_better():
    workflow = threshold(learner="greedy")
    teach(workflow, "large", good=False, n=50)
    assert run(workflow, request(0.55), {"nano": "A"}).calls == ("nano",)


def test_what_was_learned_fades_as_requests_go_by():
    workflow = threshold(memory=100, learner="greedy")
    teach(workflow, "nano", good=True, n=50)
    for _ in range(1_000):
        workflow.absorb(workflow.lesson(request(0.1)))
    assert run(workflow, request(0.55), {"large": "B"}).calls == ("large",)


def test_lessons_come_to_the_same_one_by_one_or_together():
    online, batch = threshold(memory=50), threshold(memory=50)
    together = None
    for index in range(20):
        lesson = online.lesson(verdict(request(index / 20), "nano", good=index % 3 > 0))
        online.absorb(lesson)
        together = lesson if together is None else together.then(lesson)
    batch.absorb(Lesson.restore(together.state()))
    assert batch.learned(request()) == pytest.approx(online.learned(request()))
    batch.forget()
    assert batch.learned(request()) == threshold().learned(request())


def test_lessons_about_other_bins_are_refused():
    with pytest.raises(ValueError, match="something else"):
        threshold().absorb(threshold(bins=4).lesson(request()))


def test_counts_of_bins_are_those_of_the_outcomes_alone():
    beliefs = CellBeliefs((3,), prior_observations=1, memory=None)
    lesson = beliefs.lesson(np.array([0, 2, 2]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 1, 0]))
    assert lesson.sums["tried"].tolist() == [1, 0, 1]
    assert lesson.sums["good"].tolist() == [1, 0, 0]


# --- what recorded answers teach ----------------------------------------------------------------


def context(n=600):
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.4, 0.6, n)
    good = rng.random(n) < np.where(predicted > 0.5, 0.95, 0.1)
    quality = np.stack([good, np.ones(n)], axis=1).astype(np.float32)
    quality[:10, 0] = np.nan
    both = np.stack([predicted, np.full(n, 0.8)], axis=1).astype(np.float32)
    flat = np.full((n, 2), 100, np.float32)
    costs = np.tile([1e-4, 1e-2], (n, 1))
    return WorkflowContext(
        x=np.zeros((n, 2), np.float32),
        conversations=[Conversation.of("?")] * n,
        labels=Labels(models=("nano", "large"), quality=quality, output_tokens=flat),
        predictions=Predictions(
            quality=both, quality_std=flat, output_tokens=flat, output_tokens_upper=flat
        ),
        answers=RecordedAnswers(models=("nano", "large"), literals=np.full((n, 2), "", object)),
        cost_usd=costs,
        predicted_cost_usd=costs,
        folds=np.arange(n) % 5,
        rng=rng,
    )


def test_recorded_answers_tell_where_the_threshold_is():
    fitted = threshold(bins=8).fit(context())
    restored = threshold(bins=8).restore(fitted.state(), ("nano", "large"))
    for workflow in (fitted, restored):
        assert workflow.learned(request()).value == pytest.approx(0.5, abs=0.02)
    restored.absorb(restored.lesson(verdict(request(0.52), "nano", good=False)))
    restored.forget()
    assert restored.learned(request()) == fitted.learned(request())


def test_it_is_not_fitted_to_a_model_without_outcomes_nor_restored_to_other_bins():
    with pytest.raises(RoutingConfigError, match="no outcomes of mini"):
        threshold(cheap="mini").fit(context())
    with pytest.raises(ValueError, match="bins"):
        threshold(bins=4).restore(threshold(bins=8).state(), ())


# --- worlds -------------------------------------------------------------------------------------


def slope(regrets):
    """Return how regret grows with the horizon, on logarithmic scales: 1 is for ever."""
    lost = [each * n for each, n in zip(regrets, HORIZONS, strict=True)]
    return np.polyfit(np.log(HORIZONS), np.log(lost), 1)[0]


def kept(world, learner):
    for n in HORIZONS:
        found = keep_or_escalate(
            world, learner=learner, n_requests=n, n_bins=math.ceil(n ** (1 / 3)), **FEW
        )
        yield found.oracle - found.learner


def guessed(world, learner):
    return [guess_thresholds(world, learner=learner, n_requests=n, **FEW) for n in HORIZONS]


IMPROVING = KeepWorld(scores=uniform, chance=improving)


@cache
def in_improving(learner, **options):
    return keep_or_escalate(
        IMPROVING, learner=learner, n_requests=40_000, n_bins=20, **FEW, **options
    )


@pytest.mark.parametrize(
    ("learner", "options"),
    [("thompson", {}), ("ucb", {}), ("greedy", {"shadow": 0.05}), ("thompson", {"shadow": 0.03})],
)
def test_a_model_that_improves_is_found_out_about(learner, options):
    greedy = in_improving("greedy")
    found = in_improving(learner, memory=8_000, **options)
    assert found.learner - greedy.learner >= 0.25 * (greedy.oracle - greedy.learner)


def test_who_goes_by_the_mean_never_finds_out_that_a_model_improved():
    greedy = in_improving("greedy")
    assert greedy.oracle - greedy.learner > 0.04


@pytest.mark.parametrize("learner", ["thompson", "ucb"])
def test_regret_grows_slower_than_requests_where_chances_are_smooth(learner):
    assert slope(kept(KeepWorld(scores=uniform, chance=lipschitz), learner)) <= 0.72
    assert slope(guessed(PRICES, learner)) <= 0.75


@pytest.mark.parametrize("learner", LEARNERS)
def test_nobody_learns_what_leaps_at_an_atom(learner):
    assert slope(kept(KeepWorld(scores=with_atoms, chance=leaping), learner)) > 0.85
    assert slope(guessed(NEEDLE, learner)) > 0.9


@pytest.mark.parametrize("learner", ["thompson", "ucb"])
def test_the_same_atom_is_learned_where_nothing_leaps_upwards(learner):
    assert slope(kept(KeepWorld(scores=with_atoms, chance=one_sided), learner)) <= 0.72
    assert slope(guessed(PRICES_AT_ATOM, learner)) <= 0.72
