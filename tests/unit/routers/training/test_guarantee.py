import numpy as np
import pytest

from routers.heads.linear import LinearHead
from routers.training.guarantee import (
    admissible_risk,
    clopper_pearson_upper,
    conformal_threshold,
    fixed_sequence_threshold,
    guarantee,
)
from tests.support.worlds import draw, make_world


@pytest.mark.parametrize(
    ("k", "n", "bound"), [(3, 100, 0.0656), (20, 300, 0.0891), (0, 20, 0.1087)]
)
def test_clopper_pearson_golden_values(k, n, bound):
    assert clopper_pearson_upper(k, n, confidence=0.9) == pytest.approx(bound, abs=5e-5)


def test_a_bound_of_certain_failure_is_one():
    assert clopper_pearson_upper(5, 5, confidence=0.9) == 1


def test_conformal_golden_value():
    assert admissible_risk(100, limit=0.1) == pytest.approx(0.0910, abs=5e-5)


MODEL, LIMIT = 3, 0.1


@pytest.fixture(scope="module")
def population():
    """Predict failure of many queries whose true chance of failure is known."""
    world = make_world(0)
    train, pool = draw(world, 2000, seed=100), draw(world, 60_000, seed=200)
    head = LinearHead().fit(train.x, train.quality, rng=np.random.default_rng(0))
    return 1 - head.predict_mean(pool.x)[:, MODEL], 1 - pool.chance[:, MODEL]


def naive(score, failed):
    """Take the highest threshold whose observed failure rate is within the limit."""
    order = np.argsort(score)
    rate = np.cumsum(failed[order]) / np.arange(1, len(score) + 1)
    fine = np.flatnonzero(rate <= LIMIT)
    return float(score[order][fine[-1]]) if len(fine) else None


@pytest.mark.parametrize("n", [100, 300, 1000, 3000])
def test_the_promise_is_broken_no_more_often_than_said(population, n):
    score, chance = population
    rng = np.random.default_rng(n)
    by_score = np.argsort(score)
    rate_below = np.cumsum(chance[by_score]) / np.arange(1, len(score) + 1)
    broken = {"naive": 0, "clopper-pearson": 0}
    for _ in range(400):
        at = rng.integers(0, len(score), n)
        failed = rng.random(n) < chance[at]
        found = {
            "naive": naive(score[at], failed),
            "clopper-pearson": fixed_sequence_threshold(
                score[at], failed, limit=LIMIT, confidence=0.9
            ),
        }
        for name, threshold in found.items():
            if threshold is None:
                continue
            kept = int(np.searchsorted(score[by_score], threshold))
            broken[name] += kept > 0 and rate_below[kept - 1] > LIMIT
    assert broken["clopper-pearson"] / 400 <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 400)
    assert broken["naive"] / 400 > 0.3


def test_conformal_risk_is_kept_on_average_but_not_by_much_less(population):
    score, chance = population
    rng = np.random.default_rng(7)
    losses = []
    for _ in range(300):
        at = rng.integers(0, len(score), 501)
        loss = (rng.random(501) < chance[at]).astype(float)
        threshold = conformal_threshold(score[at[:500]], loss[:500], limit=0.05)
        losses.append(loss[500] * (score[at[500]] < threshold))
    assert np.mean(losses) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(losses) > 0.02


def test_conformal_threshold_is_the_highest_admissible():
    score, loss = np.arange(10) / 10, np.array([0.0] * 8 + [1, 1])
    # Nine kept lose 0.1 on average; admissible are (0.2 - 1/11) * 1.1 = 0.12.
    assert conformal_threshold(score, loss, limit=0.2) == pytest.approx(0.9)
    assert conformal_threshold(score, loss, limit=0.05) is None
    assert conformal_threshold(score, np.ones(10), limit=0.1) is None


def test_equal_scores_are_kept_together():
    score, loss = np.array([0.1] * 5 + [0.5] * 95), np.zeros(100)
    loss[5:20] = 1
    assert conformal_threshold(score, loss, limit=0.1) == 0.5
    assert fixed_sequence_threshold(score, loss > 0, limit=0.3, confidence=0.9) == pytest.approx(
        0.5, abs=1e-9
    )


def test_too_few_requests_promise_nothing():
    score, failed = np.linspace(0, 1, 20), np.zeros(20, bool)
    assert fixed_sequence_threshold(score, failed, limit=0.1, confidence=0.9) is None
    assert fixed_sequence_threshold(score, failed, limit=0.2, confidence=0.9) > 1


def test_the_method_follows_the_outcomes_and_losses_are_not_made_up_for():
    rng = np.random.default_rng(0)
    score = rng.random(400)
    strong, weak = np.ones(400), (rng.random(400) > score**3).astype(float)
    pair = {"strong": "s", "weak": "w"}
    options = {**pair, "limit": 0.1, "confidence": 0.9, "date": "2026-01-01"}
    found = guarantee(score, strong, weak, **options)
    assert found.method == "clopper-pearson"
    assert found.loss <= 0.1
    assert "with confidence 90%" in found.statement
    assert "2026-01-01" in found.statement
    graded = guarantee(score, strong * 0.9, weak * 0.8, **options)
    assert (graded.method, graded.confidence) == ("conformal-risk", None)
    # Where the weak model is better that is no negative loss.
    better = guarantee(score, np.zeros(400), np.ones(400), **options)
    assert (better.loss, better.n_kept) == (0, 400)
    assert guarantee(score, strong, 0 * weak, **options) is None
