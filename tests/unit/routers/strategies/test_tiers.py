import itertools

import numpy as np
import pytest

from routers.base import Comparisons, Labels
from routers.numeric import sigmoid
from routers.strategies._bradley_terry import bradley_terry
from routers.strategies._tiers import tiers_of
from routers.strategies.sw_ranking import SimilarityWeightedRouter


def variances(rating, tier):
    return sum(rating[tier == t].var() for t in set(tier))


def partitions(n, k):
    for cuts in itertools.combinations(range(1, n), k - 1):
        yield np.repeat(np.arange(k), np.diff([0, *cuts, n]))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_tiers", [1, 2, 3, 5])
def test_tiers_have_the_least_variance_of_all_partitions(seed, n_tiers):
    rating = np.random.default_rng(seed).normal(1000, 80, 9)
    tier = tiers_of(rating, n_tiers)
    assert set(tier) == set(range(n_tiers))
    order = np.argsort(-rating)
    assert (np.diff(tier[order]) >= 0).all()
    best = min(variances(rating[order], each) for each in partitions(9, n_tiers))
    assert variances(rating, tier) == pytest.approx(best)


def test_the_sum_of_variances_does_not_count_the_models_of_a_tier():
    # The two strong ones vary by 2.25, the twenty others by 1: as sums of squares by 4.5 and 20.
    rating = np.asarray([12.0, 9.0, *[3.0] * 10, *[1.0] * 10])
    assert tiers_of(rating, 3).tolist() == [0, 1] + [2] * 20


def test_equal_ratings_share_a_tier_and_there_are_no_empty_ones():
    assert tiers_of(np.asarray([5, 1, 5, 1, 1.0]), 10).tolist() == [0, 1, 0, 1, 1]
    assert tiers_of(np.ones(4), 3).tolist() == [0, 0, 0, 0]
    assert tiers_of(np.asarray([3.0]), 2).tolist() == [0]


def arena(seed, *, n_models=40, n_comparisons=600, n_levels=5):
    """Return comparisons of many models on few levels, whose order turns with the query."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.linspace(-2, 2, n_levels), n_models // n_levels)
    x = rng.normal(size=(n_comparisons, 4)).astype(np.float32)
    a = rng.integers(0, n_models, n_comparisons)
    b = (a + rng.integers(1, n_models, n_comparisons)) % n_models
    chance = sigmoid(tilt(x) * (level[a] - level[b]))
    outcome = (rng.random(n_comparisons) < chance).astype(np.float32)
    comparisons = Comparisons(row=np.arange(n_comparisons), a=a, b=b, outcome=outcome)
    quality = np.full((n_comparisons, n_models), 0.5, np.float32)
    models = tuple(f"m{i}" for i in range(n_models))
    return x, Labels(models=models, quality=quality, comparisons=comparisons)


def tilt(x):
    return np.where(x[:, 0] > 0, 1.5, 0.2)


def fitted(x, labels, **options):
    router = SimilarityWeightedRouter(**options)
    return router.fit(x, labels, rng=np.random.default_rng(0))


def test_tiers_predict_sparse_comparisons_of_many_models_better():
    losses = {None: [], 5: []}
    for seed in range(5):
        x, labels = arena(seed)
        fresh, later = arena(100 + seed)
        won, a, b = later.comparisons.outcome, later.comparisons.a, later.comparisons.b
        for n_tiers, loss in losses.items():
            strength = fitted(x, labels, n_tiers=n_tiers).predict(fresh).strength
            rows = np.arange(len(won))
            margin = (strength[rows, a] - strength[rows, b]).astype(np.float64)
            loss.append(np.logaddexp(0, np.where(won > 0, -margin, margin)).mean())
    assert np.mean(losses[5]) < np.mean(losses[None]) - 0.03


def test_a_tier_is_ranked_by_the_comparisons_of_all_its_models():
    x, labels = arena(0)
    router = fitted(x, labels, n_tiers=3, n_nearest=None)
    tier, comparisons = router.tier_, labels.comparisons
    apart = tier[comparisons.a] != tier[comparisons.b]
    winner = np.where(comparisons.outcome > 0, comparisons.a, comparisons.b)[apart]
    loser = np.where(comparisons.outcome > 0, comparisons.b, comparisons.a)[apart]
    similar = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16).astype(np.float64)
    similar = similar @ (x[0] / np.linalg.norm(x[0]))
    weight = 10.0 ** (1 + similar[apart] / similar.max())
    wins = np.zeros((3, 3))
    np.add.at(wins, (tier[winner], tier[loser]), weight)
    expected = bradley_terry(wins[None], router.overall_, prior=1.0)[0]
    strength = router.predict(x[:1]).strength[0]
    np.testing.assert_allclose(strength, expected[tier] + router.within_, atol=1e-4)
    for each in range(3):
        assert router.within_[tier == each].mean() == pytest.approx(0, abs=1e-9)


def test_as_many_tiers_as_models_change_nothing():
    x, labels = arena(0, n_models=10)
    plain, tiered = (fitted(x, labels, n_tiers=n).predict(x[:50]).strength for n in (None, 10))
    np.testing.assert_allclose(tiered, plain, atol=1e-5)


def test_tiers_come_back_from_their_state():
    x, labels = arena(0)
    router = fitted(x, labels, n_tiers=4)
    again = SimilarityWeightedRouter(n_tiers=4).restore(router.state(), labels.models)
    np.testing.assert_array_equal(again.predict(x[:20]).strength, router.predict(x[:20]).strength)


def test_models_that_only_meet_their_equals_are_ranked_overall():
    comparisons = Comparisons(
        row=np.arange(4),
        a=np.asarray([0, 0, 2, 2]),
        b=np.asarray([1, 1, 3, 3]),
        outcome=np.full(4, 0.5, np.float32),
    )
    x = np.eye(4, dtype=np.float32)
    labels = Labels(
        models=("a", "b", "c", "d"),
        quality=np.full((4, 4), 0.5, np.float32),
        comparisons=comparisons,
    )
    predicted = fitted(x, labels, n_tiers=2).predict(x)
    np.testing.assert_allclose(predicted.strength, 0, atol=1e-6)
