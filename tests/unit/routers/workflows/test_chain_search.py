from itertools import permutations

import numpy as np
import pytest

from routers.workflows._chain_search import (
    NEVER,
    NO_MODEL,
    Judged,
    outcomes,
    search,
    thresholds_of,
)

N_QUANTILES = 6
RATES = np.concatenate([[0.0], np.geomspace(0.1, 1000, 20), [np.inf]])


def answers(n, *, seed, n_models=4):
    """Return answers of models that get better and dearer, with scores that know a little."""
    rng = np.random.default_rng(seed)
    chance = np.linspace(0.3, 0.8, n_models)
    quality = (rng.random((n, n_models)) < chance).astype(float)
    cost = np.geomspace(1, 10, n_models) * rng.lognormal(0, 0.2, (n, 1))
    # Rounded, so that scores are tied as those of short answers are.
    first = (0.4 * quality + 0.6 * rng.random((n, n_models))).round(2)
    second = (0.4 * quality[:, None, :] + 0.6 * rng.random((n, n_models, n_models))).round(2)
    return Judged(quality=quality, cost_usd=cost, first=first, second=second)


def all_chains(judged):
    """Return mean quality and cost of every chain with every pair of thresholds."""
    found = []
    for length in (1, 2, 3):
        for models in permutations(range(judged.quality.shape[1]), length):
            for limits in thresholds(judged, models):
                quality, cost, _ = outcomes(judged, models, limits)
                found.append((quality.mean(), cost.mean()))
    return np.array(found).T


def thresholds(judged, models):
    if len(models) == 1:
        yield ()
        return
    for one in thresholds_of(judged.first[:, models[0]], N_QUANTILES):
        if len(models) == 2:
            yield (one,)
            continue
        down = judged.first[:, models[0]] < one
        for two in thresholds_of(judged.second[down, models[0], models[1]], N_QUANTILES)[:-1]:
            yield (one, two)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_what_trying_everything_finds(seed):
    judged = answers(50, seed=seed)
    quality, cost = all_chains(judged)
    found = search(judged, rates=RATES, n_quantiles=N_QUANTILES)
    for rate in RATES[:-1]:
        best = (rate * quality - cost).max()
        assert (rate * found.quality - found.cost_usd).max() == pytest.approx(best)
    assert found.quality.max() == pytest.approx(quality.max())


@pytest.mark.parametrize("budget_usd", [1.2, 2.0, 4.0, 8.0])
def test_within_a_budget_it_is_the_best_of_all(budget_usd):
    judged = answers(50, seed=7)
    quality, cost = all_chains(judged)
    found = search(judged, rates=RATES, n_quantiles=N_QUANTILES, budget_usd=budget_usd)
    assert found.cost_usd[0] <= budget_usd
    assert found.quality[0] == pytest.approx(quality[cost <= budget_usd].max())


def test_without_a_budget_the_best_chain_of_all_comes_first():
    judged = answers(50, seed=3)
    found = search(judged, rates=RATES, n_quantiles=N_QUANTILES)
    assert found.quality[0] == found.quality.max() == pytest.approx(all_chains(judged)[0].max())


def test_a_budget_that_pays_for_nothing_leaves_the_cheapest():
    judged = answers(50, seed=3)
    found = search(judged, rates=RATES, n_quantiles=N_QUANTILES, budget_usd=0.01)
    assert found.cost_usd[0] == found.cost_usd.min()


@pytest.mark.parametrize("models", [(0, 3), (0, 1, 3), (1, 0, 2)])
def test_cost_rises_with_each_threshold(models):
    judged = answers(400, seed=1)
    for place in range(len(models) - 1):
        limits = [0.5] * (len(models) - 1)
        costs = []
        for limit in np.linspace(0, 1.1, 12):
            limits[place] = limit
            costs.append(outcomes(judged, models, limits)[1].mean())
        assert costs == sorted(costs)
        assert costs[-1] > costs[0]


def test_every_stage_that_was_called_is_paid_for():
    judged = Judged(
        quality=np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]),
        cost_usd=np.array([[1.0, 10, 100]] * 3),
        first=np.array([[0.9, 0, 0], [0.1, 0, 0], [0.2, 0, 0]]),
        second=np.full((3, 3, 3), 0.5) * np.array([0, 1.8, 0.2])[:, None, None],
    )
    quality, cost, reach = outcomes(judged, (0, 1, 2), (0.5, 0.5))
    assert cost.tolist() == [1, 11, 111]
    assert quality.tolist() == [1, 1, 1]
    assert reach == pytest.approx((1, 2 / 3, 1 / 3))


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_asked_twice_and_chains_end(seed):
    found = search(answers(60, seed=seed, n_models=3), rates=RATES, n_quantiles=8)
    for models in found.models.tolist():
        stages = [each for each in models if each != NO_MODEL]
        assert len(set(stages)) == len(stages) >= 1
        assert models == stages + [NO_MODEL] * (3 - len(stages))
    assert len({tuple(row) for row in np.c_[found.models, found.thresholds].tolist()}) == len(found)


def test_a_chain_is_no_longer_than_allowed():
    judged = answers(60, seed=2)
    for longest in (1, 2, 3):
        found = search(judged, rates=RATES, n_quantiles=8, max_stages=longest)
        assert found.n_stages.max() == longest


def test_a_pool_of_one_is_one_chain():
    judged = answers(20, seed=0, n_models=1)
    assert search(judged, rates=RATES, n_quantiles=8).models.tolist() == [[0, NO_MODEL, NO_MODEL]]


def test_perfect_scores_stop_at_the_first_success():
    rng = np.random.default_rng(0)
    quality = (rng.random((500, 3)) < [0.6, 0.9, 0.3]).astype(float)
    judged = Judged(
        quality=quality,
        cost_usd=np.tile([0.1, 0.5, 0.02], (500, 1)),
        first=quality,
        second=np.repeat(quality[:, None, :], 3, axis=1),
    )
    found = search(judged, rates=np.array([1.0]), n_quantiles=5)
    best = int(np.argmax(found.quality - found.cost_usd))
    assert found.models[best].tolist() == [2, 0, 1]


def test_thresholds_are_scores_that_were_seen():
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    assert thresholds_of(scores, 10).tolist() == [0.5, 0.9, NEVER]
    many = np.random.default_rng(0).random(1000)
    some = thresholds_of(many, 7)
    assert len(some) == 7
    assert set(some[:-1]) <= set(many)
    assert thresholds_of(np.zeros(5), 7).tolist() == [NEVER]


@pytest.mark.parametrize("n_models", [1, 2])
def test_a_pool_may_be_smaller_than_a_chain_is_long(n_models):
    judged = answers(60, seed=5, n_models=n_models)
    found = search(judged, rates=RATES, n_quantiles=N_QUANTILES)
    assert np.isfinite(found.quality).all()
    assert set(np.unique(found.models)) <= {NO_MODEL, *range(n_models)}
    quality, _ = all_chains(judged)
    assert found.quality.max() == pytest.approx(quality.max())
