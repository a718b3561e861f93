"""Queries of known tasks by themselves, others by what they are for as well."""

import numpy as np
import pytest

from routers.base import Labels
from routers.errors import RoutingConfigError
from routers.options import build
from routers.request.task_vectors import TASK_COLUMNS
from routers.strategies.tasks import TasksRouter

MODELS = ("all-rounder", "coder", "talker")
N_TASKS, WIDTH, PER_TASK = 8, 16, 60
AXES = np.linalg.qr(np.random.default_rng(7).normal(size=(TASK_COLUMNS, TASK_COLUMNS)))[0]


def world(tasks=range(N_TASKS), *, seed=0, described=True):
    """Return tasks of code (even) and talk (odd), whose descriptions say which of them they are.

    What prompts look like says nothing of that: every task has a direction of its own.
    """
    rng = np.random.default_rng(seed)
    task = np.repeat(list(tasks), PER_TASK)
    is_code = task % 2 == 0
    vector = AXES[np.where(is_code, 0, 1)] + 0.4 * AXES[2 + task]
    if not described:
        vector = rng.normal(size=vector.shape)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    prompt = 2 * np.eye(WIDTH)[task] + 0.2 * rng.normal(size=(len(task), WIDTH))
    skill = np.where(is_code[:, None], (0.6, 0.9, 0.3), (0.6, 0.3, 0.9))
    quality = (rng.random((len(task), 3)) < skill).astype(np.float32)
    labels = Labels(
        models=MODELS, quality=quality, groups=tuple(f"made/task{each}" for each in task)
    )
    return np.hstack([vector, prompt]).astype(np.float32), labels, skill


def fitted(data=None, **options):
    x, labels, _ = data or world(range(6))
    router = build(TasksRouter, options, noun="strategy 'tasks'")
    return router.fit(x, labels, rng=np.random.default_rng(1))


@pytest.fixture(scope="module")
def router():
    return fitted()


def chosen(router, x, skill):
    """Return the mean skill of the models that are predicted to be best."""
    best = router.predict(x).quality.argmax(axis=1)
    return skill[np.arange(len(x)), best].mean()


def test_tasks_that_were_left_out_are_routed_by_their_descriptions(router):
    x, _, skill = world((6, 7), seed=9)
    alone = router.base_.predict(x[:, TASK_COLUMNS:]).quality.argmax(axis=1)
    by_queries = skill[np.arange(len(x)), alone].mean()
    assert chosen(router, x, skill) > 0.85
    assert chosen(router, x, skill) > by_queries + 0.1


def test_how_much_a_profile_counts_is_chosen_on_tasks_that_were_left_out(router):
    assert router.weight_ >= 0.75
    assert router.sharpness_ > 0
    assert router.notes()["weight_on_unknown_tasks"] == router.weight_


def test_queries_of_known_tasks_are_predicted_by_themselves(router):
    x, _, _ = world(range(6), seed=3)
    known = router.predict(x).categories.first >= 0
    assert known.mean() > 0.7
    assert (
        router.predict(x).quality[known] == router.base_.predict(x[known, TASK_COLUMNS:]).quality
    ).all()


def test_a_prompt_like_one_of_training_is_of_no_known_task_where_another_is_described(router):
    x, _, _ = world((0,), seed=4)
    other, _, _ = world((7,), seed=4)
    x[:, :TASK_COLUMNS] = other[:, :TASK_COLUMNS]
    assert (router.predict(x).categories.first < 0).all()


def test_what_scattered_rows_are_for_is_not_asked_again():
    router = fitted(world(range(6), described=False))
    assert (router.floor_ < -1).all()
    x, _, _ = world(range(6), seed=3, described=False)
    assert (router.predict(x).categories.first >= 0).mean() > 0.65


def test_the_scale_is_that_of_quality(router):
    x, labels, _ = world((6, 7), seed=5)
    predicted = router.predict(x).quality
    assert abs(predicted.mean() - labels.quality.mean()) < 0.1
    assert ((predicted >= 0) & (predicted <= 1)).all()


def test_a_weight_of_nothing_is_the_router_of_queries():
    router = fitted(weight=0.0)
    x, _, _ = world((6, 7), seed=6)
    assert (router.predict(x).quality == router.base_.predict(x[:, TASK_COLUMNS:]).quality).all()


def test_it_comes_back_from_plain_arrays(router):
    again = TasksRouter().restore(router.state(), router.models_)
    x, _, _ = world((1, 6), seed=8)
    assert (again.predict(x).quality == router.predict(x).quality).all()
    assert (again.predict(x).categories.first == router.predict(x).categories.first).all()


@pytest.mark.parametrize("name", ["floor", "lead", "vectors", "mix"])
def test_arrays_that_do_not_fit_are_refused(router, name):
    state = router.state()
    with pytest.raises(ValueError, match="do not fit together"):
        TasksRouter().restore({**state, name: state[name][:1]}, router.models_)


@pytest.mark.parametrize("base", [{"strategy": "nobody"}, {"options": {"stray": 1}}])
def test_a_wrong_base_is_told_before_anything_is_learned(base):
    with pytest.raises(RoutingConfigError):
        build(TasksRouter, {"base": base}, noun="strategy 'tasks'")
