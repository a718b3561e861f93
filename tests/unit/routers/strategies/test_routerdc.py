import numpy as np
import pytest

from routers.base import Labels
from routers.strategies._contrast import Contrasts, choose_models, choose_queries, loss_gradients
from routers.strategies.routerdc import RouterDcRouter
from tests.support.gradients import assert_gradients_are_right
from tests.support.worlds import draw, make_world

RNG = np.random.default_rng(0)
N, M, D, DIM = 6, 5, 4, 3
QUALITY = np.array(
    [
        [0.9, 0.8, 0.7, 0.1, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.9, 0.8, 0.7, 0.6, 0.55],
        [1.0, 0.0, 0.4, 0.3, 0.2],
        [0.3, 0.2, 0.1, 0.0, 0.9],
        [1.0, np.nan, np.nan, 0.0, np.nan],
    ],
    np.float32,
)


def weights():
    rng = np.random.default_rng(1)
    shapes = {"project": (D, DIM), "shift": (DIM,), "vectors": (M, DIM)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def contrasts():
    rng = np.random.default_rng(2)
    toward, away = choose_models(QUALITY, QUALITY, 2, 2, rng)
    mate, strangers, met = choose_queries(np.array([0, 0, 0, 1, 1, 2]), 2, rng)
    return Contrasts(toward=toward, away=away, mate=mate, strangers=strangers, met=met)


def test_gradients_equal_finite_differences():
    z, chosen = RNG.normal(size=(N, D)), contrasts()

    def loss(at):
        return loss_gradients(at, z, chosen, temperature=0.5, weight=0.7)

    assert_gradients_are_right(loss, weights())


def test_the_best_are_drawn_near_and_the_worst_pushed_away():
    toward, away = choose_models(QUALITY, QUALITY, 2, 2, RNG)
    assert toward[0].tolist() == [True, True, False, False, False]
    assert away[0].tolist() == [False, False, False, True, True]


def test_a_best_one_of_no_quality_takes_no_part_and_a_good_one_is_never_pushed_away():
    toward, away = choose_models(QUALITY, QUALITY, 2, 2, RNG)
    assert not toward[1].any()
    assert not away[2].any()
    now, z = weights(), RNG.normal(size=(2, D))
    alone = Contrasts(
        toward=toward[1:3],
        away=away[1:3],
        mate=np.arange(2),
        strangers=np.zeros((2, 1), int),
        met=np.zeros(2, bool),
    )
    loss, gradients = loss_gradients(now, z, alone, temperature=1.0, weight=1.0)
    assert loss == pytest.approx(0, abs=1e-12)
    assert all(np.abs(each).max() < 1e-12 for each in gradients.values())


def test_what_was_not_tried_is_on_neither_side_and_sides_shrink_with_the_pool():
    toward, away = choose_models(QUALITY, QUALITY, 3, 3, RNG)
    assert toward[5].tolist() == [True, False, False, False, False]
    assert away[5].tolist() == [False, False, False, True, False]
    assert toward.sum(axis=1).max() == 2
    assert not (toward & away).any()


def test_permuting_the_models_permutes_the_gradients():
    now, z, chosen = weights(), RNG.normal(size=(N, D)), contrasts()
    order = RNG.permutation(M)
    turned = Contrasts(
        toward=chosen.toward[:, order],
        away=chosen.away[:, order],
        mate=chosen.mate,
        strangers=chosen.strangers,
        met=chosen.met,
    )
    loss, plain = loss_gradients(now, z, chosen, temperature=1.0, weight=1.0)
    other = {**now, "vectors": now["vectors"][order]}
    again, permuted = loss_gradients(other, z, turned, temperature=1.0, weight=1.0)
    assert again == pytest.approx(loss)
    np.testing.assert_allclose(permuted["vectors"], plain["vectors"][order], atol=1e-12)
    np.testing.assert_allclose(permuted["project"], plain["project"], atol=1e-12)


def test_strangers_are_of_other_clusters_and_a_mate_of_the_own():
    cluster = np.array([0, 0, 1, 1, 1, 2])
    mate, strangers, met = choose_queries(cluster, 2, RNG)
    assert met.all()
    assert (cluster[mate] == cluster).all()
    assert mate[5] == 5  # alone in its cluster
    assert (mate[:5] != np.arange(5)).all()
    assert (cluster[strangers] != cluster[:, None]).all()


def fitted(sample, columns, **options):
    models = tuple(f"m{i}" for i in range(len(columns)))
    labels = Labels(models=models, quality=sample.quality[:, columns])
    router = RouterDcRouter(k_positive=2, k_negative=2, temperature=0.1, **options)
    return router.fit(sample.x, labels, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def world():
    made = make_world(0)
    return draw(made, 2000, seed=100), draw(made, 2000, seed=200)


def test_it_is_clearly_better_than_the_best_single_model(world):
    train, test = world
    router = fitted(train, range(5))
    picks = router.predict(test.x).quality.argmax(axis=1)
    gained = test.chance[np.arange(len(picks)), picks].mean() - test.chance.mean(axis=0).max()
    assert gained > 0.015


def test_a_copy_of_a_model_does_not_push_the_original_away(world):
    train, test = world
    alone, beside = fitted(train, range(5)), fitted(train, [0, 1, 2, 3, 4, 4])
    for other in (2, 3):
        shares = [
            (predicted[:, 4] > predicted[:, other]).mean()
            for predicted in (alone.predict(test.x).quality, beside.predict(test.x).quality)
        ]
        assert shares[1] > shares[0] - 0.1


def test_outcomes_above_zero_count_as_right_on_the_benchmarks_named():
    groups = ("a/mmlu/law", "a/gsm8k", "mmlu") * 40
    quality = np.tile(np.array([[0.3, 0.0], [0.3, 0.0], [0.4, np.nan]], np.float32), (40, 1))
    labels = Labels(models=("x", "y"), quality=quality, groups=groups)
    counted = RouterDcRouter(right_above_zero=("mmlu",))._counted(labels)
    np.testing.assert_array_equal(
        counted.quality[:3], np.array([[1, 0], [0.3, 0], [1, np.nan]], np.float32)
    )
