import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from routers.base import Comparisons, Labels
from routers.decision.pairwise import strong_scores
from routers.errors import DataError
from routers.strategies._minimise import minimise
from routers.strategies.mf import Duels, MatrixFactorizationRouter, convex, low_rank_loss
from tests.support.comparisons import MODELS, STRONG, WEAK, apgr, world_with_comparisons
from tests.support.worlds import draw, make_world

RNG = np.random.default_rng(0)


def random_duels(n, n_queries, n_models):
    winner = RNG.integers(0, n_models, n)
    loser = (winner + RNG.integers(1, n_models, n)) % n_models
    row = np.arange(n) if n_queries is None else RNG.integers(0, n_queries, n)
    return Duels(row=row, winner=winner, loser=loser, weight=RNG.choice([0.5, 1.0], n))


def test_the_convex_form_is_logistic_regression_on_products():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(60, 4))
    duels = random_duels(300, 60, 3)
    ours = convex(z, duels, n_models=3, c=0.5)
    onehot = np.eye(3)
    difference = onehot[duels.winner] - onehot[duels.loser]
    products = (difference[:, None, :] * z[duels.row][:, :, None]).reshape(300, -1)
    # Half the comparisons are told from the loser's side, so that there are two classes.
    sign = np.where(np.arange(300) % 2, 1, -1)
    theirs = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs.fit(products * sign[:, None], sign, sample_weight=duels.weight)
    np.testing.assert_allclose(ours, theirs.coef_.reshape(4, 3), atol=1e-4)


def test_gradients_of_the_low_rank_form_equal_finite_differences():
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=shape) for shape in [(5, 3), (4, 3), (3,)]]
    z, duels = rng.normal(size=(20, 5)), random_duels(20, None, 4)
    _, gradients = low_rank_loss(weights, z, duels)
    step = 1e-6
    for weight, gradient in zip(weights, gradients, strict=True):
        for index in np.ndindex(weight.shape):
            weight[index] += step
            above = low_rank_loss(weights, z, duels)[0]
            weight[index] -= 2 * step
            below = low_rank_loss(weights, z, duels)[0]
            weight[index] += step
            assert gradient[index] == pytest.approx((above - below) / (2 * step), abs=1e-7)


def textbook_training(x, duels, *, rank, n_models, seed):
    """Train as published, in the order in which the router draws: weights, order, noise."""
    rng = np.random.default_rng(seed)
    wide, narrow = 1 / np.sqrt(x.shape[1]), 1 / np.sqrt(rank)
    weights = [
        rng.uniform(-wide, wide, (x.shape[1], rank)),
        rng.standard_normal((n_models, rank)),
        rng.uniform(-narrow, narrow, rank),
    ]
    first, second = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    step = 0
    for _ in range(3):
        order = rng.permutation(len(duels.row))
        for begin in range(0, len(order), 64):
            part = duels.pick(order[begin : begin + 64])
            z = x[part.row] + 0.1 * rng.standard_normal((len(part.row), x.shape[1]))
            step += 1
            for i, slope in enumerate(low_rank_loss(weights, z, part)[1]):
                gradient = slope + 1e-5 * weights[i]
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                size = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
                weights[i] = weights[i] - 3e-4 * first[i] / (1 - 0.9**step) / size
    project, vectors, mix = weights
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return project @ (unit * mix).T


def test_the_low_rank_form_is_trained_as_published():
    rng = np.random.default_rng(1)
    n, n_models = 200, 4
    x = rng.normal(size=(n, 6))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True) + 0.2).astype(np.float32)
    a = rng.integers(0, n_models - 1, n)  # the last model never competes
    comparisons = Comparisons(
        row=np.arange(n),
        a=a,
        b=(a + 1) % (n_models - 1),
        outcome=rng.choice([0, 0.5, 1], n).astype(np.float32),
    )
    labels = Labels(
        models=MODELS[:n_models],
        quality=np.full((n, n_models), 0.5, np.float32),
        comparisons=comparisons,
    )
    router = MatrixFactorizationRouter(rank=8, ties="drop", n_epochs=3)
    router.fit(x, labels, rng=np.random.default_rng(7))
    won = np.concatenate([np.flatnonzero(comparisons.outcome == side) for side in (1, 0)])
    n_first = (comparisons.outcome == 1).sum()
    sides = np.stack([comparisons.a, comparisons.b])[:, won]
    sides[:, n_first:] = sides[::-1, n_first:]
    duels = Duels(row=won, winner=sides[0], loser=sides[1], weight=np.ones(len(won)))
    coef = textbook_training(x.astype(float), duels, rank=8, n_models=n_models, seed=7)
    apart = coef - coef.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(router.coef_[:-1], apart, atol=1e-6)
    np.testing.assert_array_equal(router.coef_[-1], 0)  # no constant: at the origin nobody wins
    origin = router.predict(np.zeros((1, 6), np.float32))
    assert strong_scores(origin, strong=0, weak=1)[0] == 0.5


def test_the_minimiser_finds_the_bottom_of_a_narrow_valley():
    scale = np.geomspace(1, 1e4, 12)

    def valley(at):
        return float((scale * (at - 1) ** 2).sum() / 2), scale * (at - 1)

    np.testing.assert_allclose(minimise(valley, np.zeros(12), tolerance=1e-9), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"ties": "drop"}, 0.608),
        ({}, 0.608),
        ({"rank": 16, "learning_rate": 3e-3, "n_epochs": 10, "ties": "drop"}, 0.608),
    ],
    ids=["published", "half-ties", "low-rank"],
)
def test_comparisons_alone_reach_the_reference(options, reference):
    areas = []
    for seed in range(5):
        x, labels, fresh = world_with_comparisons(seed)
        router = MatrixFactorizationRouter(**options)
        predicted = router.fit(x, labels, rng=np.random.default_rng(seed)).predict(fresh.x)
        score = strong_scores(predicted, strong=STRONG, weak=WEAK)
        areas.append(apgr(score, fresh.chance[:, WEAK], fresh.chance[:, STRONG]))
    assert np.mean(areas) > reference - 0.01


def test_the_oracle_and_a_coin_stand_where_they_are_known_to_stand():
    oracle, coin = [], []
    for seed in range(5):
        fresh = draw(make_world(seed), 2000, seed=200 + seed)
        weak, strong = fresh.chance[:, WEAK], fresh.chance[:, STRONG]
        oracle.append(apgr(strong - weak, weak, strong))
        coin.append(apgr(np.random.default_rng(seed).random(2000), weak, strong))
    assert np.mean(oracle) == pytest.approx(0.662, abs=0.005)
    assert np.mean(coin) == pytest.approx(0.5, abs=0.01)


def test_outcomes_serve_as_well_as_comparisons():
    world = make_world(0)
    train, fresh = draw(world, 2000, seed=100), draw(world, 2000, seed=200)
    labels = Labels(models=MODELS, quality=train.quality)
    router = MatrixFactorizationRouter().fit(train.x, labels, rng=np.random.default_rng(0))
    score = strong_scores(router.predict(fresh.x), strong=STRONG, weak=WEAK)
    area = apgr(score, fresh.chance[:, WEAK], fresh.chance[:, STRONG])
    assert area > 0.608
    assert router.notes()["battles"] == 20_000


def test_ties_teach_nothing_where_they_are_dropped():
    x, labels, fresh = world_with_comparisons(0)
    comparisons = labels.comparisons
    decided = Labels(
        models=MODELS,
        quality=labels.quality,
        comparisons=comparisons.pick(comparisons.outcome != 0.5),
    )
    with_ties, without = (
        MatrixFactorizationRouter(ties="drop")
        .fit(x, each, rng=np.random.default_rng(0))
        .predict(fresh.x)
        for each in (labels, decided)
    )
    np.testing.assert_array_equal(with_ties.strength, without.strength)


def test_queries_answered_by_one_model_each_cannot_be_compared():
    quality = np.asarray([[1, np.nan], [np.nan, 0]], np.float32)
    with pytest.raises(DataError, match="nothing to compare"):
        MatrixFactorizationRouter().fit(
            np.eye(2, dtype=np.float32),
            Labels(models=("a", "b"), quality=quality),
            rng=np.random.default_rng(0),
        )


def test_comparisons_that_were_all_ties_leave_everyone_equal():
    rng = np.random.default_rng(1)
    comparisons = Comparisons(
        row=np.arange(4), a=np.zeros(4, int), b=np.ones(4, int), outcome=np.full(4, 0.5, np.float32)
    )
    labels = Labels(
        models=("a", "b"), quality=np.full((4, 2), 0.5, np.float32), comparisons=comparisons
    )
    x = rng.normal(size=(4, 3)).astype(np.float32)
    router = MatrixFactorizationRouter().fit(x, labels, rng=np.random.default_rng(0))
    assert strong_scores(router.predict(x), strong=0, weak=1).tolist() == [0.5] * 4
