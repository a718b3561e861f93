"""The mapping from categories to experts: against trying everything, and what must not move it."""

import numpy as np
import pytest

from routers.errors import RoutingConfigError
from routers.strategies._expert_mapping import Footprint, MeanLimit, best_mapping

N_CASES = 200


def brute_force(loss, share, footprint, means):
    """Return the least mean loss of all mappings within the limits; None where there is none."""
    n_categories, n_models = loss.shape
    experts = np.indices((n_models,) * n_categories).reshape(n_categories, -1)

    def mean_of(amount):
        return sum(share[c] * amount[c, experts[c]] for c in range(n_categories))

    allowed = np.ones(experts.shape[1], bool)
    if footprint is not None:
        used = [(experts == model).any(axis=0) for model in range(n_models)]
        size = sum(size * each for size, each in zip(footprint.sizes, used, strict=True))
        allowed &= size <= footprint.limit
    for each in means:
        allowed &= mean_of(each.amount) <= each.limit
    return float(mean_of(loss)[allowed].min()) if allowed.any() else None


def a_case(rng):
    n_categories, n_models = int(rng.integers(1, 7)), int(rng.integers(2, 7))
    loss = rng.random((n_categories, n_models))
    share = rng.dirichlet(np.ones(n_categories)) * 0.9 + 0.1 / n_categories
    sizes = rng.uniform(1, 100, n_models)
    footprint = Footprint(sizes=sizes, limit=float(rng.uniform(sizes.min(), sizes.sum())))
    active = np.broadcast_to(sizes, loss.shape).astype(float)
    usd = rng.lognormal(-9, 1, loss.shape)
    means = [
        MeanLimit(name="active_parameters_b", amount=active, limit=float(rng.uniform(20, 100))),
        MeanLimit(
            name="usd_per_request",
            amount=usd,
            limit=float(share @ usd.min(axis=1)) * float(rng.uniform(1, 4)),
        ),
    ]
    kind = int(rng.integers(4))
    if kind == 0:
        return loss, share, footprint, []
    return loss, share, footprint if kind == 3 else None, means[kind - 1 : kind] or means


def test_it_is_what_trying_everything_finds():
    rng = np.random.default_rng(0)
    n_feasible = 0
    for _ in range(N_CASES):
        loss, share, footprint, means = a_case(rng)
        best = brute_force(loss, share, footprint, means)
        if best is None:
            with pytest.raises(RoutingConfigError, match=r"no mapping|no model fits"):
                best_mapping(loss, share, footprint=footprint, means=means)
            continue
        n_feasible += 1
        found = best_mapping(loss, share, footprint=footprint, means=means)
        rows = np.arange(len(loss))
        assert share @ loss[rows, found] == pytest.approx(best, abs=1e-9)
        if footprint is not None:
            assert footprint.sizes[np.unique(found)].sum() <= footprint.limit
        for each in means:
            assert share @ each.amount[rows, found] <= each.limit * (1 + 1e-6)
    assert n_feasible > 0.8 * N_CASES


def test_a_dominated_model_changes_nothing():
    rng = np.random.default_rng(1)
    for _ in range(50):
        loss, share, footprint, means = a_case(rng)
        if brute_force(loss, share, footprint, means) is None:
            continue
        before = best_mapping(loss, share, footprint=footprint, means=means)
        like = int(rng.integers(loss.shape[1]))
        worse = np.hstack([loss, loss[:, [like]] + rng.choice([0, 0.1])])
        wider = [
            MeanLimit(
                name=each.name,
                amount=np.hstack([each.amount, each.amount[:, [like]] * 1.1]),
                limit=each.limit,
            )
            for each in means
        ]
        larger = footprint and Footprint(
            sizes=np.append(footprint.sizes, footprint.sizes[like]), limit=footprint.limit
        )
        after = best_mapping(worse, share, footprint=larger, means=wider)
        assert after.tolist() == before.tolist()


def test_a_model_of_unknown_size_fits_into_nothing():
    sizes = np.array([np.inf, 7.0])
    loss = np.array([[0.0, 0.5], [0.0, 0.5]])
    footprint = Footprint(sizes=sizes, limit=1e6)
    assert best_mapping(loss, np.array([0.5, 0.5]), footprint=footprint).tolist() == [1, 1]


def test_a_budget_that_nothing_fits_says_what_the_least_is():
    loss = np.full((2, 2), 0.5)
    share = np.array([0.5, 0.5])
    with pytest.raises(RoutingConfigError, match="the smallest has 7"):
        best_mapping(loss, share, footprint=Footprint(sizes=np.array([7.0, 9.0]), limit=3))
    limit = MeanLimit(name="usd_per_request", amount=np.array([[1, 2], [1, 2.0]]), limit=0.1)
    with pytest.raises(RoutingConfigError, match=r"usd_per_request at 0\.1; the least is 1"):
        best_mapping(loss, share, means=[limit])
