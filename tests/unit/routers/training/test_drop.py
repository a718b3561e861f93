"""The threshold of fewest strong calls for an allowed drop of the mean."""

import numpy as np
import pytest

from routers.training.drop import choose_drop, drop_threshold


def by_hand(score, strong, weak, limit):
    """Try every threshold: the most weak calls whose mean drops by at most the limit."""
    found = []
    for threshold in [*np.unique(score), np.inf]:
        kept = score < threshold
        drop = (strong.mean() - np.where(kept, weak, strong).mean()) / strong.mean()
        if drop <= limit + 1e-9:
            found.append(kept.sum())
    return max(found)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limit", [0.0, 0.01, 0.05, 0.3])
def test_no_threshold_saves_more(seed, limit):
    rng = np.random.default_rng(seed)
    n = 60
    score = rng.random(n) if seed % 2 else rng.integers(0, 8, n) / 8  # with ties and without
    strong = (rng.random(n) < 0.8).astype(float)
    weak = (rng.random(n) < 0.9 - 0.5 * score).astype(float)
    threshold = drop_threshold(score, strong, weak, limit=limit)
    kept = score < threshold
    assert kept.sum() == by_hand(score, strong, weak, limit)


def test_later_gains_make_up_for_earlier_losses():
    score = np.asarray([0.1, 0.2, 0.3, 0.4])
    strong, weak = np.asarray([1.0, 0, 1, 1]), np.asarray([0.0, 1, 1, 0])
    assert drop_threshold(score, strong, weak, limit=0) == 0.4  # -1 + 1 + 0, and not the last


def test_a_model_that_always_loses_is_never_called():
    score, strong, weak = np.asarray([0.2, 0.5]), np.ones(2), np.zeros(2)
    assert (score < drop_threshold(score, strong, weak, limit=0.1)).sum() == 0
    everything = drop_threshold(score, weak, weak, limit=0.0)
    assert (score < everything).all()


def test_what_was_chosen_is_also_looked_at_on_the_other_half():
    rng = np.random.default_rng(0)
    n = 4000
    score = rng.random(n)
    strong = (rng.random(n) < 0.9).astype(float)
    weak = (rng.random(n) < 0.9 - 0.4 * score**2).astype(float)
    found = choose_drop(
        score,
        strong,
        weak,
        strong="large",
        weak="small",
        limit=0.01,
        half=rng.random(n) < 0.5,
        date="2026-01-01",
    )
    assert found.drop <= 0.01
    assert found.cost_advantage > 0.3
    # A fresh sample drops by no more than the limit and two standard errors of it.
    assert found.unseen_drop < 0.01 + 2 * np.sqrt((strong - weak).var() / n) / 0.9
    assert found.unseen_cost_advantage == pytest.approx(found.cost_advantage, abs=0.15)
    assert "Nothing is guaranteed" in found.statement
    assert "on one half of them" in found.statement


def test_a_single_request_has_no_other_half():
    one = np.ones(1)
    found = choose_drop(
        one, one, one, strong="l", weak="s", limit=0.5, half=one > 0, date="2026-01-01"
    )
    assert (found.cost_advantage, found.drop, found.unseen_drop) == (1, 0, None)
