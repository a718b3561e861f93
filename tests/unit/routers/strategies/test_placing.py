"""Routers that a further model joins by a rule of their own: what few of its outcomes tell."""

import numpy as np
import pytest

from routers.base import Labels, Newcomer
from routers.errors import DataError
from routers.strategies import embedllm, nirt
from routers.strategies.avengers_pro import AvengersProRouter, one_over_rank
from routers.strategies.embedllm import EmbedLlmRouter
from routers.strategies.mirt import MirtRouter
from routers.strategies.nirt import NirtRouter
from routers.strategies.routerdc import RouterDcRouter
from routers.strategies.uniroute import UniRouteRouter
from tests.support.gradients import assert_gradients_are_right
from tests.support.worlds import draw, make_world

NEW = 3
KNOWN = [0, 1, 2, 4]
KINDS = {
    "embedllm": EmbedLlmRouter,
    "mirt": MirtRouter,
    "nirt": NirtRouter,
    "uniroute": UniRouteRouter,
}

every_kind = pytest.mark.parametrize("kind", KINDS)


def labels(sample, columns, **more):
    return Labels(
        models=tuple(f"m{i}" for i in columns),
        quality=sample.quality[:, columns],
        output_tokens=sample.output_tokens[:, columns],
        **more,
    )


@pytest.fixture(scope="module")
def world():
    made = make_world(0)
    return draw(made, 2000, seed=100), draw(made, 1000, seed=200)


@pytest.fixture(scope="module")
def routers(world):
    """Every kind, trained on all models but the new one."""
    train, _ = world
    given = labels(train, KNOWN)
    return {
        kind: made().fit(train.x, given, rng=np.random.default_rng(0))
        for kind, made in KINDS.items()
    }


def newcomer(sample, n, **more):
    return Newcomer(
        x=sample.x[:n],
        quality=sample.quality[:n, NEW].astype(float),
        output_tokens=2 * sample.output_tokens[:n, NEW].astype(float),
        **more,
    )


def error_of(router, sample, test, n):
    found = router.predict_placed(router.place(newcomer(sample, n)), test.x)
    return float(((found.quality[:, 0] - test.chance[:, NEW]) ** 2).mean())


@every_kind
def test_outcomes_of_a_new_model_close_most_of_the_gap_to_having_trained_it(kind, routers, world):
    train, test = world
    nothing = float(((test.chance[:, KNOWN].mean(axis=1) - test.chance[:, NEW]) ** 2).mean())
    few, many = (error_of(routers[kind], train, test, n) for n in (32, 400))
    assert many < few
    assert many < 0.6 * nothing


@every_kind
def test_nothing_that_was_trained_changes_and_lengths_are_in_proportion(kind, routers, world):
    train, test = world
    router = routers[kind]
    before = {name: array.copy() for name, array in router.state().items()}
    placed = router.place(newcomer(train, 100))
    found = router.predict_placed(placed, test.x)
    assert all(np.array_equal(before[name], array) for name, array in router.state().items())
    usual = router.predict(test.x).output_tokens.mean()
    assert found.output_tokens.mean() == pytest.approx(2 * usual, rel=0.25)
    assert (found.output_tokens_upper >= found.output_tokens).all()


def test_a_router_without_such_a_rule_says_so(world):
    train, _ = world
    router = RouterDcRouter().fit(train.x[:200], labels(train, KNOWN).rows(range(200)), rng=RNG)
    assert router.place(newcomer(train, 50)) is None


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["embedllm", "uniroute"])
def test_without_a_single_outcome_there_is_nothing_to_go_by(kind, routers, world):
    with pytest.raises(DataError, match="outcomes"):
        routers[kind].place(newcomer(world[0], 0))


@pytest.mark.parametrize("kind", ["mirt", "nirt"])
def test_a_description_tells_the_abilities_that_a_new_model_starts_from(kind, world):
    train, test = world
    family = np.array([[0, 1], [0.1, 1], [1, 0.1], [1, 0]], np.float32)
    given = labels(train, [0, 1, 3, 4], descriptions=family)
    router = KINDS[kind]().fit(train.x, given, rng=np.random.default_rng(0))
    weak, strong = (
        router.predict_placed(router.place(newcomer(train, 0, description=told)), test.x)
        for told in np.eye(2, dtype=np.float32)[::-1]
    )
    assert strong.quality.mean() > weak.quality.mean() + 0.05


def test_a_copy_of_a_model_changes_nothing_for_the_others():
    sample = draw(make_world(1), 600, seed=1)
    alone, beside = (
        UniRouteRouter(n_clusters=8, shrink_unfamiliar=False).fit(
            sample.x, labels(sample, columns), rng=np.random.default_rng(0)
        )
        for columns in ([0, 1, 2], [0, 1, 2, 2])
    )
    np.testing.assert_allclose(
        alone.scorer_.scores(alone.axes(sample.x)[0]),
        beside.scorer_.scores(beside.axes(sample.x)[0])[:, :3],
        atol=1e-6,
    )


def test_equals_share_a_rank_and_the_best_has_the_whole_mark():
    merit = np.array([[0.9, 0.2, 0.9, 0.5]], np.float32)
    np.testing.assert_allclose(one_over_rank(merit), [[1, 1 / 4, 1, 1 / 3]])


@pytest.mark.parametrize("rule", ["ranks", "values"])
def test_ranks_of_near_clusters_find_who_is_good_there(rule, world):
    train, test = world
    router = AvengersProRouter(n_clusters=25, rule=rule)
    router.fit(train.x, labels(train, range(5)), rng=np.random.default_rng(0))
    picks = router.predict(test.x).quality.argmax(axis=1)
    gained = test.chance[np.arange(len(picks)), picks].mean() - test.chance.mean(axis=0).max()
    assert gained > 0.01
    placed = router.place(newcomer(train, 200))
    assert np.isfinite(router.predict_placed(placed, test.x).quality).all()


def test_a_query_far_from_all_clusters_is_predicted_at_the_means(world):
    train, _ = world
    router = AvengersProRouter().fit(train.x, labels(train, range(5)), rng=np.random.default_rng(0))
    found = router.predict(-train.x[:50]).quality
    means = train.quality.mean(axis=0)
    assert np.abs(found - means).max() < 0.15


def test_thrift_moves_ranks_toward_cheap_models(world):
    train, _ = world
    cost = train.cost_usd.mean(axis=0)
    given = labels(train, range(5), mean_cost_usd=cost)
    marks = [
        AvengersProRouter(alpha=alpha)._learn(_lesson(train, given), rng=RNG).marks.mean(axis=0)
        for alpha in (1.0, 0.3)
    ]
    assert marks[1][0] > marks[0][0]
    assert marks[1][4] < marks[0][4]


def _lesson(sample, given):
    from routers.strategies._ranking import Lesson

    return Lesson(z=sample.x, labels=given, expected=None)


def test_gradients_of_embedllm_equal_finite_differences():
    rng = np.random.default_rng(0)
    shapes = {"project": (4, 3), "shift": (3,), "vectors": (5, 3), "bias": (5,)}
    at = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    z, target, known = rng.normal(size=(6, 4)), rng.random((6, 5)), rng.random((6, 5)) < 0.7
    assert_gradients_are_right(lambda now: embedllm.loss_gradients(now, z, target, known), at)


def neural_weights(rng, k=3, h=2, d=4, m=5):
    shapes = {
        "demand": (d, 2 * k + 1),
        "demand_bias": (2 * k + 1,),
        "hidden": (k, h),
        "hidden_bias": (h,),
        "out": (h,),
        "bias": (1,),
        "ability": (m, k),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_gradients_of_nirt_equal_finite_differences():
    rng = np.random.default_rng(0)
    z, target, known = rng.normal(size=(6, 4)), rng.random((6, 5)), rng.random((6, 5)) < 0.7
    assert_gradients_are_right(
        lambda now: nirt.loss_gradients(now, z, target, known), neural_weights(rng), rel=1e-3
    )


def test_no_ability_can_lower_the_chance_of_a_good_answer():
    rng = np.random.default_rng(1)
    now, z = neural_weights(rng), rng.normal(size=(20, 4))
    before = nirt.forward(now, z)["logit"]
    for ability in range(3):
        raised = now["ability"].copy()
        raised[:, ability] += 0.7
        assert (nirt.forward({**now, "ability": raised}, z)["logit"] >= before).all()
