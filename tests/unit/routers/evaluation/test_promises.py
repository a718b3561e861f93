"""Shares of a gap are told only where there is one, and with how sure they are."""

import numpy as np
import pytest

from routers.evaluation.bootstrap import mean_draws, resample
from routers.evaluation.promises import (
    CHEAPEST_IS_BEST,
    KEPT,
    LESS,
    MORE,
    ONE_CANDIDATE,
    Promises,
    knob_lines,
    verdict,
)


def kept(*chances: float, n: int = 2000, n_models: int = 2) -> Promises:
    """Return what a knob kept whose positions answer right with these chances."""
    luck = np.random.default_rng(0).random(n)
    right = (luck < np.array(chances)[:, None]).astype(float)
    draws = mean_draws(right, n_draws=300, seed=0)
    return Promises.of(right.mean(axis=1), draws, n_models=n_models)


def test_shares_are_of_the_gap_and_have_intervals():
    found = kept(0.4, 0.6, 0.8)
    assert found.no_share is None
    low, middle, high = found.shares
    assert (low.value, high.value) == (0, 1)
    assert middle.value == pytest.approx(0.5, abs=0.05)
    assert middle.low < middle.value < middle.high


@pytest.mark.parametrize(
    ("chances", "n_models", "why"),
    [
        ((0.5, 0.5, 0.5), 2, CHEAPEST_IS_BEST),
        ((0.0, 0.0, 0.0), 3, CHEAPEST_IS_BEST),
        ((0.9, 0.5, 0.4), 2, CHEAPEST_IS_BEST),
        ((0.4, 0.6, 0.8), 1, ONE_CANDIDATE),
    ],
    ids=["constant", "all wrong", "cheapest is best", "one model"],
)
def test_where_there_is_no_gap_no_share_is_told_and_why(chances, n_models, why):
    found = kept(*chances, n_models=n_models)
    assert (found.shares, found.no_share) == (None, why)


def test_a_gap_within_noise_is_not_shared_out():
    rng = np.random.default_rng(1)
    quality = (rng.random((3, 40)) < 0.5).astype(float)
    quality[-1, :] = quality[0, :]
    quality[-1, np.flatnonzero(quality[0] == 0)[:1]] = 1
    draws = mean_draws(quality, n_draws=300, seed=0)
    found = Promises.of(quality.mean(axis=1), draws, n_models=2)
    assert found.gap.value > 0
    assert found.shares is None
    assert "within noise" in found.no_share


def test_a_deviation_is_noise_or_a_broken_promise():
    low, middle, high = kept(0.4, 0.6, 0.8).shares
    assert verdict(0.5, middle) == KEPT
    assert verdict(0.8, middle) == LESS
    assert verdict(0.2, middle) == MORE
    # The ends are what shares are measured by.
    assert verdict(0.0, low) is verdict(1.0, high) is verdict(0.5, None) is None


def test_draws_in_blocks_are_means_of_the_same_queries():
    values = np.random.default_rng(0).random((3, 50))
    assert mean_draws(values, n_draws=20, seed=4) == pytest.approx(
        resample(50, 20, seed=4) @ values.T / 50
    )


def test_a_terminal_is_told_intervals_and_the_number_of_queries():
    share = kept(0.4, 0.6, 0.8).shares[1]
    step = {"cost_quality": 0.5, "quality": 0.61, "n": 2000, "promise": KEPT}
    step |= {"share_of_gap": share.value, "share_of_gap_interval": [share.low, share.high]}
    first, second = knob_lines([step], None)
    assert "2000 queries" in first
    assert f"[{share.low:.2f}, {share.high:.2f}] of the gap: within noise" in second
    step |= {"share_of_gap": None, "share_of_gap_interval": None, "promise": None}
    said = knob_lines([step], CHEAPEST_IS_BEST)
    assert said[1:] == ["  0.5: quality 0.610", f"  {CHEAPEST_IS_BEST}"]
