from math import exp, lgamma, log

import numpy as np
import pytest

from routers.decision.best_of import best_probabilities


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([475, 470], [25, 30]),
        ([475, 0], [25, 0]),
        ([475, 470, 300, 10], [25, 30, 20, 1]),
        ([500, 499], [0, 1]),
        ([0.2, 0.5], [0.1, 0.7]),
        ([19000, 18990, 10], [1000, 1010, 1]),
        ([1e4] * 6, [400] * 6),
    ],
)
def test_the_chance_to_be_best_is_that_of_drawing_the_highest(good, bad):
    rng = np.random.default_rng(3)
    drawn = rng.beta(np.array(good) + 1.0, np.array(bad) + 1.0, (200_000, len(good)))
    shares = np.bincount(drawn.argmax(axis=1), minlength=len(good)) / len(drawn)
    found = best_probabilities(good, bad)
    assert found.sum() == pytest.approx(1.0)
    assert found == pytest.approx(shares, abs=0.008)


def test_of_nothing_known_all_are_alike_and_one_alone_is_the_best():
    assert best_probabilities([0, 0, 0, 0], [0, 0, 0, 0]) == pytest.approx([0.25] * 4)
    assert best_probabilities([3], [8]) == pytest.approx([1.0])


@pytest.mark.parametrize(("one", "other"), [((3, 2), (2, 3)), ((40, 3), (38, 4)), ((1, 9), (2, 9))])
def test_two_of_whole_counts_are_compared_as_their_finite_sum_says(one, other):
    found = best_probabilities([one[0] - 1, other[0] - 1], [one[1] - 1, other[1] - 1])
    assert found[0] == pytest.approx(_exact(*one, *other), abs=0.005)


def _exact(a1, b1, a2, b2):
    """Return P(Beta(a1, b1) > Beta(a2, b2)) of whole parameters, by its finite sum."""

    def log_beta(a, b):
        return lgamma(a) + lgamma(b) - lgamma(a + b)

    return sum(
        exp(log_beta(a2 + i, b1 + b2) - log(b1 + i) - log_beta(1 + i, b1) - log_beta(a2, b2))
        for i in range(a1)
    )
