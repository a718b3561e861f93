"""Guarded kNN leaves the best single model on evidence only, and then as far as it goes."""

import math

import numpy as np
import pytest

from routers.base import ROUTERS, Labels
from routers.decision.choice import choose
from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.options import build
from tests.support.worlds import draw, make_world

MODELS = ("cheap", "best", "dear")
COSTS = np.array([1.0, 2.0, 10.0])


def two_places(n: int, *, here, there) -> tuple[np.ndarray, np.ndarray]:
    """Return queries around two orthogonal directions and fixed outcomes of three models there."""
    rng = np.random.default_rng(0)
    x = np.zeros((2 * n, 16), np.float32)
    x[:n, 0] = x[n:, 1] = 1
    x[:, 2:] = 0.02 * rng.normal(size=(2 * n, 14))
    return x, np.repeat([here, there], n, axis=0).astype(np.float32)


def fitted(x, quality, *, costs=COSTS, tokens=None, **options):
    router = build(ROUTERS.get("guarded-knn"), options, noun="strategy")
    labels = Labels(models=MODELS, quality=quality, output_tokens=tokens, mean_cost_usd=costs)
    return router.fit(x, labels, rng=np.random.default_rng(0))


def best_of(router, x) -> list[str]:
    cost = np.broadcast_to(COSTS, (len(x), 3))
    at = choose(router.predict(x).quality, cost, math.inf, model_ids=MODELS)
    return [MODELS[i] for i in at]


def test_another_model_is_taken_where_its_neighbours_did_better_and_nowhere_else():
    x, quality = two_places(60, here=[1.0, 0.5, 0.0], there=[0.0, 1.0, 0.5])
    router = fitted(x, quality)
    assert router.notes()["pinned"] == "best"
    assert best_of(router, x[:1]) == ["cheap"]
    assert best_of(router, x[60:61]) == ["best"]


def test_fewer_pairs_than_asked_for_are_no_evidence():
    x, quality = two_places(60, here=[1.0, 0.5, 0.0], there=[0.0, 1.0, 0.5])
    quality[7:60, 0] = np.nan
    assert best_of(fitted(x, quality), x[:1]) == ["best"]
    assert best_of(fitted(x, quality, min_pairs=7), x[:1]) == ["cheap"]


def scattered(share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return queries of which the other models solve `share` where the pinned solves half."""
    x, quality = two_places(50, here=[0.5, 0.5, 0.5], there=[0.0, 1.0, 0.0])
    rng = np.random.default_rng(1)
    quality[:50, 1] = rng.permutation(np.arange(50) < 25)
    solved = rng.permutation(np.arange(50) < round(50 * share))
    quality[:50, 0] = quality[:50, 2] = solved
    return x, quality


def test_the_guard_is_z_standard_errors_and_twice_that_for_a_dearer_model():
    x, quality = scattered(0.58)  # 0.08 above the pinned one, standard error about 0.1
    difference = quality[:50, 0] - quality[:50, 1]
    ratio = difference.mean() / (difference.std() / math.sqrt(50))
    assert 0.5 < ratio < 1.0
    router = fitted(x, quality)
    cheap, best, dear = router.predict(x[:1]).quality[0]
    assert cheap > best > dear
    assert best_of(fitted(x, quality, z=1.2), x[:1]) == ["best"]
    unknown = fitted(x, quality, costs=None)
    assert unknown.notes()["dearer"] == list(MODELS)
    assert best_of(unknown, x[:1]) == ["best"]


def test_without_evidence_models_stand_apart_as_they_do_on_the_whole():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 16)).astype(np.float32)
    quality = (rng.random((400, 3)) < [0.4, 0.8, 0.6]).astype(np.float32)
    predicted = fitted(x, quality, z=8.0).predict(x).quality
    overall = (quality - quality[:, 1:2]).mean(axis=0)
    assert predicted - predicted[:, 1:2] == pytest.approx(
        np.broadcast_to(overall, predicted.shape), abs=1e-4
    )


def test_equals_go_to_the_pinned_model_at_the_dear_end_also_where_all_fail():
    x, quality = two_places(60, here=[0.0, 0.0, 0.0], there=[0.0, 1.0, 0.5])
    assert best_of(fitted(x, quality), x) == ["best"] * 120
    everything_right = np.ones_like(quality)
    router = fitted(x, everything_right)
    assert router.notes()["pinned"] == "cheap"
    assert best_of(router, x) == ["cheap"] * 120


def test_a_model_that_was_tried_on_other_queries_does_not_gain_by_it():
    x, quality = two_places(60, here=[0.9, 0.9, 0.9], there=[0.1, 0.2, 0.1])
    quality[55:, 2] = np.nan  # seen on easy queries and never beside the others' failures
    router = fitted(x, quality, costs=np.array([1.0, 2.0, 3.0]))
    assert router.notes()["pinned"] == "dear"  # by its mean
    assert (router.memory_.overall.difference <= 0).all()


def test_lengths_are_those_of_the_neighbours():
    x, quality = two_places(60, here=[1.0, 0.5, 0.0], there=[0.0, 1.0, 0.5])
    tokens = np.repeat([[50.0, 50, 50], [500.0, 500, 500]], 60, axis=0).astype(np.float32)
    predicted = fitted(x, quality, tokens=tokens).predict(x[[0, 60]]).output_tokens
    assert (predicted[0] < 120).all()
    assert (predicted[1] > 430).all()


@pytest.mark.parametrize("seed", range(3))
def test_it_beats_mixing_single_models_and_never_loses_the_best_one(seed):
    world = make_world(seed)
    train, test = draw(world, 1500, seed=10 + seed), draw(world, 3000, seed=20 + seed)
    labels = Labels(
        models=("a", "b", "c", "d", "e"),
        quality=train.quality,
        output_tokens=train.output_tokens,
        mean_cost_usd=train.cost_usd.mean(axis=0),
    )
    router = build(ROUTERS.get("guarded-knn"), {}, noun="strategy")
    router.fit(train.x, labels, rng=np.random.default_rng(0))
    routed = curve(router.predict(test.x).quality, test.cost_usd, test.chance, test.cost_usd)
    singles = single_models(test.chance, test.cost_usd)
    low, high = singles[0].min(), singles[0].max()
    assert area_under_hull(*routed, low=low, high=high) > (
        area_under_hull(*singles, low=low, high=high) + 0.02
    )
    assert routed[1][-1] > singles[1].max()


def told_of(x, column, quality):
    """Return what feedback tells: of the model that answered, and of no other."""
    told = np.full((len(x), 3), np.nan, np.float32)
    told[:, column] = quality
    return x, Labels(models=MODELS, quality=told)


def test_failures_of_the_pinned_model_alone_have_another_taken_there_and_nowhere_else():
    x, quality = two_places(60, here=[0.6, 0.7, 0.5], there=[0.6, 0.7, 0.5])
    router = fitted(x, quality)
    assert best_of(router, x[[0, 60]]) == ["best", "best"]
    router.insert(*told_of(x[:60], 1, 0.0))
    assert best_of(router, x[[0, 60]]) == ["cheap", "best"]


def test_successes_of_another_model_alone_have_it_taken():
    x, quality = two_places(60, here=[0.6, 0.7, 0.5], there=[0.6, 0.7, 0.5])
    router = fitted(x, quality)
    router.insert(*told_of(x[:60], 0, 1.0))
    assert best_of(router, x[[0, 60]]) == ["cheap", "best"]


def test_feedback_that_agrees_with_what_was_predicted_changes_no_choice():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 16)).astype(np.float32)
    quality = (rng.random((300, 3)) < [0.4, 0.8, 0.6]).astype(np.float32)
    router = fitted(x, quality)
    before = router.predict(x).quality
    for column in range(3):
        router.insert(*told_of(x, column, before[:, column]))
    assert (router.predict(x).quality.argmax(axis=1) == before.argmax(axis=1)).mean() > 0.99


def test_feedback_neither_displaces_fitted_neighbours_nor_moves_the_figures_of_the_guard():
    x, quality = two_places(60, here=[1.0, 0.5, 0.0], there=[0.0, 1.0, 0.5])
    router, overall = fitted(x, quality), fitted(x, quality).memory_.overall
    # Nearer than any other, and of a model that says nothing of the cheap one.
    router.insert(*told_of(np.repeat(x[:1], 500, axis=0), 2, 0.0))
    assert best_of(router, x[:1]) == ["cheap"]
    np.testing.assert_array_equal(router.memory_.overall.mean, overall.mean)
    np.testing.assert_array_equal(router.memory_.overall.difference, overall.difference)


def test_what_is_told_does_not_depend_on_the_order_or_on_how_much_comes_at_once():
    x, quality = two_places(60, here=[0.6, 0.7, 0.5], there=[0.6, 0.7, 0.5])
    some, others = told_of(x[:30], 1, 0.0), told_of(x[20:50], 0, 1.0)
    one, other = fitted(x, quality), fitted(x, quality)
    one.insert(*some), one.insert(*others)
    for x_told, labels in (others, some):
        for at in range(0, 30, 7):
            rows = np.arange(at, min(at + 7, 30))
            other.insert(x_told[rows], labels.rows(rows))
    np.testing.assert_allclose(one.predict(x).quality, other.predict(x).quality, atol=1e-6)


def test_later_outcomes_with_pairs_are_as_those_of_the_fit():
    x, quality = two_places(60, here=[1.0, 0.5, 0.0], there=[0.0, 1.0, 0.5])
    whole, grown = fitted(x, quality), fitted(x[::2], quality[::2])
    grown.insert(x[1::2], Labels(models=MODELS, quality=quality[1::2]))
    np.testing.assert_allclose(whole.predict(x).quality, grown.predict(x).quality, atol=1e-6)


@pytest.mark.parametrize("missing", ["heard.x", "heard.y", "heard.paired"])
def test_a_damaged_memory_of_feedback_is_refused(missing):
    x, quality = two_places(60, here=[1.0, 0.5, 0.0], there=[0.0, 1.0, 0.5])
    router = fitted(x, quality)
    router.insert(*told_of(x[:3], 1, 0.0))
    state = router.state()
    state[missing] = state[missing][:1]
    again = build(ROUTERS.get("guarded-knn"), {}, noun="strategy")
    with pytest.raises(ValueError, match="do not fit together"):
        again.restore(state, MODELS)
