import numpy as np
import pytest

from routers.evaluation.pair import apgr, apgr_draws, cpt, gap_curve

SHARE = np.array([0, 0.25, 0.5, 0.75, 1])
RECOVERED = np.array([0, 0.6, 0.8, 0.95, 1])


def test_golden_values():
    assert apgr(SHARE, RECOVERED) == pytest.approx(0.7125)
    assert cpt(SHARE, RECOVERED, level=0.5) == pytest.approx(0.2083, abs=5e-5)
    assert cpt(SHARE, RECOVERED, level=0.8) == pytest.approx(0.5)
    assert cpt(SHARE, RECOVERED, level=0) == 0
    assert np.isnan(cpt(SHARE, RECOVERED, level=1.1))


def test_a_random_router_recovers_half_the_gap():
    rng = np.random.default_rng(0)
    weak = (rng.random(4000) < 0.6).astype(float)
    strong = (rng.random(4000) < 0.8).astype(float)
    areas, halves = [], []
    for _ in range(100):
        curve = gap_curve(rng.random(4000), weak, strong)
        areas.append(apgr(*curve))
        halves.append(cpt(*curve, level=0.5))
    assert np.mean(areas) == pytest.approx(0.50, abs=0.01)
    assert np.mean(halves) == pytest.approx(0.50, abs=0.03)


def test_equal_scores_move_together_whatever_their_order():
    weak, strong = np.array([0.0, 0, 1]), np.array([1.0, 0, 1])
    for order in ([0, 1, 2], [2, 1, 0]):
        share, recovered = gap_curve(np.zeros(3), weak[order], strong[order])
        assert (share.tolist(), recovered.tolist()) == ([0, 1], [0, 1])


def test_draws_with_equal_weights_agree_with_the_curve():
    rng = np.random.default_rng(1)
    score, weak = rng.random(50), rng.random(50)
    strong = np.clip(weak + rng.random(50) - 0.3, 0, 1)
    one = apgr(*gap_curve(score, weak, strong))
    assert apgr_draws(score, weak, strong, np.ones((3, 50))) == pytest.approx([one] * 3)
    twice = np.full((1, 50), 2.0)
    assert apgr_draws(score, weak, strong, twice) == pytest.approx([one])
