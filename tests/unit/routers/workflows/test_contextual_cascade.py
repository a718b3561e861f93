"""Cascades that learn which models to try, and in which order."""

import itertools
import math
import random

import numpy as np
import pytest

from routers.answers.recorded import RecordedAnswers
from routers.base import Labels
from routers.errors import RoutingConfigError
from routers.options import build
from routers.steps import Answer, Delegate, Draft, Serve, Skip
from routers.task import Room
from routers.types import Conversation, Predictions
from routers.workflows.base import WorkflowContext
from routers.workflows.contextual_cascade import ContextualCascade
from routers.workflows.learning.lessons import Lesson
from routers.workflows.learning.linear_beliefs import LinearBeliefs, arm_features, n_columns
from routers.workflows.learning.ordered_cascade import best_order, cascade_worth_usd
from routers.workflows.learning.verifier import auc
from tests.support.cascade_worlds import make_worlds, regrets
from tests.support.tasks import candidate, run, task

JUDGED = {"kind": "judge", "model": "judge", "auc": 0.8}
MODELS = ("nano", "mini", "large")
COSTS = {"nano": 1e-4, "mini": 5e-4, "large": 1e-2}


def cascade(**options):
    return ContextualCascade(
        **{"candidates": MODELS, "verifier": JUDGED, "checked": 0.0, **options}
    )


def request(usd_per_quality=0.1, **fields):
    qualities = {"nano": 0.3, "mini": 0.6, "large": 0.9}
    estimates = [candidate(each, quality=qualities[each], cost_usd=COSTS[each]) for each in MODELS]
    return task(estimates, usd_per_quality=usd_per_quality, **fields)


def asked(workflow, told, said):
    """Drive a request, and return what came of it and what it teaches."""
    course = run(workflow, told, said)
    return course, workflow.lesson(told)


# --- which models, in which order ---------------------------------------------------------------


@pytest.mark.parametrize(("max_stages", "n_cases"), [(None, 2_000), (1, 300), (2, 300), (3, 300)])
def test_order_is_as_good_as_the_best_of_all_ordered_subsets(max_stages, n_cases):
    rng = random.Random(7)
    orders = [
        each for n in range((max_stages or 4) + 1) for each in itertools.permutations(range(4), n)
    ]
    for _ in range(n_cases):
        chances = [rng.random() for _ in range(4)]
        costs = [rng.random() * 0.9 for _ in range(4)]
        best = max(cascade_worth_usd(each, chances, costs, value_usd=1.0) for each in orders)
        found = best_order(chances, costs, value_usd=1.0, max_stages=max_stages)
        worth = cascade_worth_usd(found, chances, costs, value_usd=1.0)
        assert worth == pytest.approx(best, abs=1e-12)


def test_without_costs_the_order_is_that_of_the_chances():
    assert best_order([0.2, 0.9, 0.5], [0.0, 0.0, 0.0], value_usd=1.0) == (1, 2, 0)


def test_a_limit_leaves_out_what_the_rest_makes_up_for():
    # The first by chance / cost is nearly worthless beside the two after it.
    chances, costs = [0.05, 0.6, 0.9], [0.001, 0.1, 0.3]
    assert best_order(chances, costs, value_usd=1.0, max_stages=2) == (1, 2)


def test_more_is_tried_the_more_a_success_is_worth():
    course = run(cascade(), request(1e-3), {"nano": "A", "mini": "B", "judge": "1"})
    assert course.calls == ("nano", "judge", "mini")
    course = run(cascade(), request(math.inf), {"large": "C", "judge": "1"})
    assert course.calls[-1] == "large"


def test_a_value_of_its_own_stands_above_the_knob():
    assert cascade(value_usd=1.0).order(request(1e-9))[-1] == "large"


def test_where_nothing_is_worth_its_cost_the_least_loss_answers():
    course = run(cascade(), request(0.0), {"nano": "A"})
    assert course.calls == ("nano",)
    assert isinstance(course.end, Delegate)


# --- a request ----------------------------------------------------------------------------------


def test_the_first_accepted_answer_serves():
    course = run(cascade(), request(), {"nano": "A", "judge": "5"})
    assert isinstance(course.end, Serve)
    assert (course.served.text, course.end.by) == ("A", "judge")


def test_a_stage_that_fails_is_followed_by_the_next_and_the_latest_draft_is_kept():
    course = run(cascade(), request(), {"mini": "B", "judge": "1"})
    assert course.calls == ("nano", "mini", "judge", "large")
    assert course.served.text == "B"


def test_stages_that_the_room_does_not_pay_for_are_left_out():
    course = run(
        cascade(),
        request(room=Room(calls=16, cost_usd=2e-3)),
        {"nano": "A", "mini": "B", "judge": "1"},
    )
    assert course.calls == ("nano", "judge", "mini")


def test_no_more_stages_than_allowed():
    assert len(cascade(max_stages=2).order(request(math.inf))) == 2


def test_without_names_all_candidates_are_tried_those_that_come_later_too():
    workflow, named = cascade(candidates=(), max_stages=4), cascade(max_stages=4)
    assert workflow.doubts(MODELS) == []
    few = task([candidate("nano", quality=0.3, cost_usd=1e-4)], usd_per_quality=0.1)
    run(workflow, few, {"nano": "A"})
    for each in (workflow, named):
        told = request()
        course = run(each, told, {"nano": "A", "mini": "B", "judge": "1"})
        assert course.calls == ("nano", "judge", "mini", "judge", "large")
        each.absorb(each.lesson(told))
    assert workflow.believe(request()).mean.tolist() == named.believe(request()).mean.tolist()
    more = task(
        [*request().candidates, candidate("huge", quality=0.99, cost_usd=2e-2)],
        usd_per_quality=1.0,
    )
    assert "huge" in workflow.order(more)
    assert workflow.believe(request()).mean[:3].tolist() == named.believe(request()).mean.tolist()


def test_of_candidates_that_may_not_be_called_nothing_is_tried():
    assert run(cascade(), task({"other": 1.0}), {}).end == Skip(why="no_candidates")


# --- what it needs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"verifier": None}, "without a `verifier`"),
        ({"verifier": {**JUDGED, "auc": 0.64}}, "AUC 0.64"),
        ({"verifier": {"kind": "judge", "model": "judge"}}, "measure its `auc`"),
        ({"verifier": {**JUDGED, "model": "mini"}}, "judge its own answers"),
        ({"candidates": ("nano",)}, "two `candidates`"),
        ({"candidates": ("nano", "stranger")}, "'stranger', which is not among"),
    ],
)
def test_it_says_what_keeps_it_from_working(options, says):
    (doubt,) = cascade(**options).doubts(MODELS)
    assert says in doubt


def test_it_starts_with_a_verifier_that_tells_enough():
    assert cascade(verifier={**JUDGED, "auc": 0.65}).doubts(MODELS) == []
    assert cascade().asks(MODELS) == ("judge",)


@pytest.mark.parametrize("found", ["good", True, 1.5, -0.1])
def test_an_auc_that_is_none_is_refused(found):
    with pytest.raises(RoutingConfigError, match="`auc`"):
        build(
            ContextualCascade,
            {"candidates": MODELS, "verifier": {**JUDGED, "auc": found}},
            noun="workflow",
        )


def test_auc_is_the_chance_that_a_good_answer_scores_higher():
    scores, good = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    assert auc(scores, good) == pytest.approx(3.5 / 4)
    assert math.isnan(auc(scores, np.ones(4, bool)))


# --- what requests teach ------------------------------------------------------------------------


def test_only_models_that_were_tried_are_believed_otherwise_afterwards():
    workflow = cascade()
    before = workflow.believe(request())
    _, lesson = asked(workflow, request(), {"nano": "A", "judge": "5"})
    workflow.absorb(lesson)
    after = workflow.believe(request())
    assert after.mean[0] > before.mean[0]
    assert after.bonus[0] < before.bonus[0]
    assert after.mean[1:].tolist() == before.mean[1:].tolist()
    assert (after.bonus[1:] >= before.bonus[1:]).all()


def test_a_model_that_always_fails_is_no_longer_tried_first():
    workflow = cascade()
    said = {"nano": "A", "mini": "B", "large": "C"}
    judge = {"A": "1", "B": "5"}
    assert workflow.order(request(0.01))[0] == "nano"
    for seed in range(60):
        told = request(0.01, seed=seed)
        run(
            workflow,
            told,
            {
                **said,
                "judge": lambda step: judge["A" if ">\nA\n<" in step.messages[-1].text else "B"],
            },
        )
        workflow.absorb(workflow.lesson(told))
    assert workflow.order(request(0.01))[0] == "mini"


def test_the_last_answer_is_verified_and_served_whatever_the_verdict():
    course, lesson = asked(
        cascade(checked=1.0), request(1e-3), {"nano": "A", "mini": "B", "judge": "2"}
    )
    assert course.calls == ("nano", "judge", "mini", "judge")
    assert (course.served.text, course.end.by) == ("B", "last_stage")
    assert lesson.sums["observed"].tolist() == [2]


def test_a_last_answer_that_cannot_be_had_is_asked_for_once_more():
    course = run(cascade(checked=1.0), request(1e-3), {"nano": "A", "judge": "2"})
    assert course.calls == ("nano", "judge", "mini", "mini")
    assert course.served.text == "A"


def test_the_share_of_last_answers_that_are_verified_is_as_told():
    workflow = cascade(checked=0.25)
    said = {"nano": "A", "mini": "B", "judge": "1"}
    ends = [run(workflow, request(1e-3, seed=seed), said).end for seed in range(400)]
    checked = sum(isinstance(end, Serve) for end in ends)
    assert checked == pytest.approx(100, abs=30)


def test_nothing_is_learned_where_nobody_judged_or_learning_is_off():
    for workflow, judge in ((cascade(), "no grade"), (cascade(learn=False), "5")):
        told = request()
        run(workflow, told, {"nano": "A", "judge": judge})
        assert workflow.lesson(told) is None
    assert not cascade(learn=False).learns_online
    assert cascade().learns_online


def test_lessons_come_to_the_same_one_by_one_or_together_in_any_order():
    workflow = cascade()
    rng = random.Random(3)
    lessons = []
    for seed in range(20):
        told = request(seed=seed)
        run(workflow, told, {"nano": "A", "mini": "B", "judge": rng.choice("15")})
        lessons.append(workflow.lesson(told))
    online, batch = cascade(), cascade()
    for each in lessons:
        online.absorb(each)
    rng.shuffle(lessons)
    together = lessons[0]
    for each in lessons[1:]:
        together = together.then(each)
    batch.absorb(Lesson.restore(together.state()))
    first, second = online.believe(request()), batch.believe(request())
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-9)
    np.testing.assert_allclose(first.bonus, second.bonus, rtol=1e-9)
    batch.forget()
    assert batch.believe(request()).mean.tolist() == cascade().believe(request()).mean.tolist()


def test_lessons_about_other_models_are_refused():
    lesson = LinearBeliefs((n_columns(0, 2),), ridge=1, weighted=False, optimism=1).lesson(
        arm_features(np.zeros(0), 2), 0.5, np.ones(2)
    )
    with pytest.raises(ValueError, match="something else"):
        cascade().absorb(lesson)


@pytest.mark.parametrize(
    "state",
    [
        {"observed": np.ones(1)},
        {"keep": np.zeros(1)},
        {"keep": np.ones(1), "observed": np.array([np.nan])},
    ],
)
def test_what_is_no_lesson_is_refused(state):
    with pytest.raises((KeyError, ValueError)):
        Lesson.restore(state)


# --- what recorded answers teach ----------------------------------------------------------------


def context(n=400, seed=0):
    """Return queries of two sorts, which the router takes for one: nano is good for the first."""
    rng = np.random.default_rng(seed)
    first = np.arange(n) % 2 == 0
    x = rng.normal(0, 0.05, (n, 6)).astype(np.float32)
    x[:, 2] += np.where(first, 1, -1)
    quality = np.stack([first, ~first, np.ones(n)], axis=1).astype(np.float32)
    quality[rng.random(quality.shape) < 0.1] = np.nan
    half = np.full((n, 3), 0.5, np.float32)
    flat = np.full((n, 3), 100, np.float32)
    costs = np.tile([COSTS[each] for each in MODELS], (n, 1))
    return WorkflowContext(
        x=x,
        conversations=[Conversation.of("?")] * n,
        labels=Labels(models=MODELS, quality=quality, output_tokens=flat),
        predictions=Predictions(
            quality=half, quality_std=half, output_tokens=flat, output_tokens_upper=flat
        ),
        answers=RecordedAnswers(models=MODELS, literals=np.full((n, 3), "", object)),
        cost_usd=costs,
        predicted_cost_usd=costs,
        folds=np.arange(n) % 5,
        rng=rng,
    )


@pytest.mark.parametrize("estimator", ["plain", "weighted"])
def test_recorded_answers_tell_which_requests_a_model_is_good_for(estimator):
    fitted = cascade(candidates=(), estimator=estimator).fit(context())
    restored = cascade(candidates=(), estimator=estimator).restore(fitted.state(), MODELS)
    for sort, first in ((1.0, "nano"), (-1.0, "mini")):
        x = np.array([0, 0, sort, 0, 0, 0], np.float32)
        for workflow in (fitted, restored):
            estimates = [candidate(each, cost_usd=COSTS[each]) for each in MODELS]
            assert workflow.order(task(estimates, x=x, usd_per_quality=1e-3))[0] == first
    restored.absorb(fitted.lesson(judged(request())))
    restored.forget()
    told = request(x=np.zeros(6, np.float32))
    assert restored.believe(told).mean.tolist() == fitted.believe(told).mean.tolist()


def judged(told):
    told.judged(
        Answer(number=0, model_id="nano", text="A"), accepted=True, by="judge", score=1.0, why=""
    )
    return told


def test_it_is_not_fitted_to_models_without_outcomes():
    with pytest.raises(RoutingConfigError, match="no outcomes of stranger"):
        cascade(candidates=("nano", "stranger")).fit(context())


# --- regret -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_regret_grows_much_slower_than_requests(weighted):
    lost = regrets(make_worlds(0, certain=False), weighted=weighted, n_requests=20_000, seed=1)
    early, late = lost[2_000 // 100 - 1], lost[-1]
    assert math.log(late / early) / math.log(10) < 0.7


def test_weighing_by_the_variance_loses_less_where_outcomes_hardly_scatter():
    worlds = make_worlds(0, certain=True)
    plain, weighted = (
        regrets(worlds, weighted=each, n_requests=10_000, seed=1)[-1] for each in (False, True)
    )
    assert weighted < 0.8 * plain


def test_draft_is_a_step_that_nobody_sees_before_it_is_accepted():
    first = next(cascade().run(request()))
    assert first == (Draft(model_id="nano"),)
