"""CARROT's mu and the exchange rate that decisions go by."""

import math

import numpy as np
import pytest

from routers.decision.tradeoff import mu_of, objective_of_mu, usd_per_quality_of
from routers.objectives import CostQuality, UsdPerQuality


@pytest.mark.parametrize(
    ("mu", "scores"),
    [
        (0.05, (0.569, 0.750, 0.7575)),
        (0.3, (0.414, 0.500, 0.295)),
        (0.6, (0.228, 0.200, -0.260)),
    ],
)
def test_golden_scores_choose_what_the_rate_chooses(mu, scores):
    quality, cost = np.asarray([0.60, 0.80, 0.85]), np.asarray([0.0002, 0.0020, 0.0100])
    published = (1 - mu) * quality - mu * 100 * cost
    np.testing.assert_allclose(published, scores, atol=1e-9)
    ours = quality - cost / usd_per_quality_of(mu)
    np.testing.assert_allclose(ours * (1 - mu), published, atol=1e-12)


def test_there_and_back_again():
    for mu in (1e-12, 0.001, 0.3, 0.5, 0.999, 1.0):
        assert mu_of(usd_per_quality_of(mu)) == pytest.approx(mu, rel=1e-9)
    assert usd_per_quality_of(0.0) == math.inf
    assert mu_of(math.inf) == 0
    assert usd_per_quality_of(0.5, kappa=1) == 1


def test_the_ends_are_quality_alone_and_cost_alone():
    assert objective_of_mu(0) == CostQuality(1.0)
    assert objective_of_mu(5e-324) == CostQuality(1.0)
    assert objective_of_mu(1) == UsdPerQuality(0.0)
    assert objective_of_mu(0.5) == UsdPerQuality(0.01)
