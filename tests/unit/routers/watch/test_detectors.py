"""That the test raises few false alarms whatever comes, and that its bounds hold."""

from math import comb

import numpy as np
import pytest

from routers.watch.detectors import Detector
from routers.watch.reference import RANK_TOLERANCE, Rate, Spread, size_class, upper_rate


def run(numbers, bound):
    detector = Detector()
    for x in numbers:
        detector.see(float(x), bound)
    return detector.evidence


def dependent(rng, n, bound):
    """Yield numbers of a mean at most `bound` given those before, that come in long runs."""
    high = False
    for _ in range(n):
        high = rng.random() < (0.97 if high else 0.03)
        yield bound if high else bound * rng.random()


@pytest.mark.parametrize("bound", [0.03, 0.3, 0.6])
def test_without_a_change_evidence_grows_by_one_per_number_at_most_in_expectation(bound):
    rng, n, runs = np.random.default_rng(5), 60, 4_000
    found = [run(rng.random(n) < bound, bound) for _ in range(runs)]
    mean, error = np.mean(found), np.std(found) / np.sqrt(runs)
    assert mean - 4 * error <= n
    assert mean > n / 4  # it is a bound that is nearly reached, not a test that cannot fail


def test_numbers_that_depend_on_each_other_change_nothing_of_that():
    rng = np.random.default_rng(6)
    assert np.mean([run(dependent(rng, 500, 0.4), 0.4) for _ in range(200)]) <= 500


@pytest.mark.parametrize(("was", "becomes", "within"), [(0.01, 0.4, 60), (0.01, 0.1, 400)])
def test_a_rise_is_found_however_late_it_comes(was, becomes, within):
    rng, detector = np.random.default_rng(7), Detector()
    for _ in range(5_000):
        detector.see(float(rng.random() < was), 0.03)
    assert detector.evidence < 1e3
    for _ in range(within):
        detector.see(float(rng.random() < becomes), 0.03)
        if detector.evidence >= 1e6:
            break
    assert detector.evidence >= 1e6


def test_overwhelming_evidence_stays_a_number():
    assert run([1.0] * 5_000, 0.01) < float("inf")


@pytest.mark.parametrize(("hits", "n"), [(0, 60), (1, 60), (3, 100), (40, 500)])
def test_no_higher_rate_is_credible_under_what_was_seen(hits, n):
    p = upper_rate(hits, n, 1e-3)
    as_few = sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits + 1))
    assert as_few <= 1e-3 * (1 + 1e-6)
    assert p < hits / n + 0.15


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (5, 5)])
def test_of_nothing_or_nothing_else_any_rate_is_credible(hits, n):
    assert upper_rate(hits, n) == 1.0
    assert Rate(n, hits).bound() < 1.0


def test_the_mean_rank_of_what_was_learned_is_one_half():
    rng = np.random.default_rng(8)
    spread, values = Spread.empty(-4.0, 4.0, 32), rng.normal(0.3, 1.0, 400)
    for value in values:
        spread.learn(float(value))
    assert np.mean([spread.rank(float(value)) for value in values]) == pytest.approx(0.5)
    assert spread.rank(-100.0) < 0.01
    assert spread.rank(100.0) > 0.99


def test_of_references_that_chance_made_the_bound_is_too_low_for_hardly_any():
    rng, too_low = np.random.default_rng(9), 0
    for _ in range(300):
        spread = Spread.empty(-4.0, 4.0, 32)
        for value in rng.normal(0.0, 0.7, 100):
            spread.learn(float(value))
        later = np.mean([spread.rank(float(value)) for value in rng.normal(0.0, 0.7, 300)])
        too_low += later > spread.bound(RANK_TOLERANCE)
    assert too_low == 0


def test_tokens_are_of_four_times_as_many_in_each_class():
    assert [size_class(n) for n in (1, 64, 255, 256, 5_000)] == [0, 1, 1, 2, 4]
