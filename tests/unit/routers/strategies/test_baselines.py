import numpy as np
import pytest

from routers.base import Labels
from routers.decision.decide import choose
from routers.decision.pairwise import strong_scores
from routers.errors import RoutingConfigError
from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.heads.base import HeadConfig
from routers.strategies.best_single import BestSingleRouter
from routers.strategies.cheapest import CheapestRouter
from routers.strategies.prompt_length import PromptLengthRouter
from routers.strategies.random import RandomRouter
from routers.strategies.random_mix import RandomMixRouter
from routers.strategies.strongest import StrongestRouter
from tests.support.comparisons import MODELS, apgr
from tests.support.worlds import USD_PER_MTOK, draw, make_world

WORLD = make_world(0)
TRAIN, FRESH = draw(WORLD, 2000, seed=100), draw(WORLD, 2000, seed=200)
LABELS = Labels(models=MODELS, quality=TRAIN.quality, output_tokens=TRAIN.output_tokens)
USD_PER_TOKEN = np.asarray(USD_PER_MTOK) / 1e6


def fitted(cls, **options):
    return cls(**options).fit(TRAIN.x, LABELS, rng=np.random.default_rng(0))


def picks(router, usd_per_quality):
    predicted = router.predict(FRESH.x)
    return choose(predicted.quality, predicted.output_tokens * USD_PER_TOKEN, usd_per_quality)


@pytest.mark.parametrize("rate", [0.0, 1e-4, 1.0, np.inf])
def test_the_cheapest_model_serves_at_every_rate(rate):
    assert set(picks(fitted(CheapestRouter), rate).tolist()) == {0}


def test_the_cheapest_is_found_at_the_prices_of_the_day():
    quality = fitted(CheapestRouter).predict(FRESH.x[:3]).quality
    prices = np.tile([3.0, 2, 1, 2, 3], (3, 1))
    assert choose(quality, prices, 1.0).tolist() == [2, 2, 2]


@pytest.mark.parametrize("rate", [0.1, np.inf])
def test_the_strongest_model_serves_whatever_it_costs(rate):
    best = TRAIN.quality.mean(axis=0).argmax()
    assert set(picks(fitted(StrongestRouter), rate).tolist()) == {best}


def test_the_best_single_model_is_a_vertex_of_the_hull():
    router = fitted(BestSingleRouter)
    means, cost = TRAIN.quality.mean(axis=0), TRAIN.cost_usd.mean(axis=0)
    for rate in (0.0, 1e-3, 3e-3, np.inf):
        best = (means - cost / rate).argmax() if rate > 0 else 0
        assert set(picks(router, rate).tolist()) == {best}


def test_random_mixtures_are_the_hull_of_single_models():
    predicted = fitted(RandomMixRouter).predict(FRESH.x)
    rates = np.concatenate([[0], np.geomspace(1e-6, 1, 2000), [np.inf]])
    cost = np.broadcast_to(FRESH.cost_usd.mean(axis=0), FRESH.cost_usd.shape)
    points = curve(
        predicted.quality,
        predicted.output_tokens * USD_PER_TOKEN,
        FRESH.chance,
        cost,
        rates=rates,
    )
    single = single_models(FRESH.chance, cost)
    span = {"low": single[0].min(), "high": single[0].max()}
    area = area_under_hull(*points, **span)
    assert area == pytest.approx(area_under_hull(*single, **span), abs=0.005)
    # It gets there by mixing: between its two ends the curve has many points, not five.
    assert len(np.unique(points[0].round(12))) > 50


@pytest.mark.parametrize(("strong", "weak"), [(4, 1), (2, 3)])
def test_a_random_threshold_is_a_share_for_any_pair(strong, weak):
    score = strong_scores(fitted(RandomRouter).predict(FRESH.x), strong=strong, weak=weak)
    for share in (0.1, 0.5, 0.9):
        assert (score >= 1 - share).mean() == pytest.approx(share, abs=0.03)


def test_a_random_router_earns_what_it_pays_for():
    areas = []
    for seed in range(5):
        world = make_world(seed)
        train, fresh = draw(world, 2000, seed=100 + seed), draw(world, 2000, seed=200 + seed)
        labels = Labels(models=MODELS, quality=train.quality)
        router = RandomRouter().fit(train.x, labels, rng=np.random.default_rng(seed))
        score = strong_scores(router.predict(fresh.x), strong=4, weak=1)
        areas.append(apgr(score, fresh.chance[:, 1], fresh.chance[:, 4]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("cls", [RandomRouter, RandomMixRouter])
def test_a_query_draws_the_same_alone_and_in_a_batch(cls):
    router = fitted(cls)
    together, alone = (
        router.predict(FRESH.x[:20]),
        [router.predict(row[None]) for row in FRESH.x[:20]],
    )
    np.testing.assert_array_equal(together.quality, np.vstack([each.quality for each in alone]))
    # What rounding does to a feature hardly moves the draw, what another query is does.
    nudged = router.predict(FRESH.x[:20] * np.float32(1 + 1e-7))
    np.testing.assert_allclose(nudged.quality, together.quality, atol=1e-3)
    if cls is RandomRouter:
        np.testing.assert_array_equal(
            together.strength, np.vstack([each.strength for each in alone])
        )


def test_draws_of_neighbouring_queries_are_unrelated():
    router = fitted(RandomRouter)
    near = FRESH.x + 0.01 * np.random.default_rng(1).normal(size=FRESH.x.shape).astype(np.float32)
    first, second = (strong_scores(router.predict(x), strong=4, weak=1) for x in (FRESH.x, near))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


def test_the_length_alone_tells_easy_from_hard():
    rng = np.random.default_rng(0)
    x = rng.random((1000, 3)).astype(np.float32)
    quality = (rng.random((1000, 2)) > x[:, 1:2] * [0.9, 0.3]).astype(np.float32)
    router = PromptLengthRouter(column=1).fit(
        x, Labels(models=("a", "b"), quality=quality), rng=rng
    )
    short, long = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert router.predict(short).quality[0, 0] > router.predict(long).quality[0, 0] + 0.5
    other = long.copy()
    other[:, [0, 2]] = 0
    np.testing.assert_array_equal(router.predict(long).quality, router.predict(other).quality)
    assert router.notes()["column"] == 1


def test_a_length_that_is_no_feature_is_refused():
    with pytest.raises(RoutingConfigError, match="32 features"):
        fitted(PromptLengthRouter, column=32)


def test_the_length_may_be_read_by_any_head():
    router = fitted(PromptLengthRouter, head=HeadConfig(kind="knn"))
    assert router.predict(FRESH.x).quality.std(axis=0).max() > 0


@pytest.mark.parametrize("cls", [RandomRouter, RandomMixRouter])
def test_draws_for_other_models_are_refused(cls):
    state = fitted(cls).state()
    with pytest.raises(ValueError, match="random"):
        cls().restore(state | {"directions": state["directions"][:, :0]}, MODELS)
