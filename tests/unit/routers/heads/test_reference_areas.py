"""Areas under the hull in the synthetic world, against published reference values.

The set-up is the one that the values were measured in: five seeds, 2,000 training and 2,000 test
queries, quality is the true chance of the chosen model, predicted costs are training means.
"""

import numpy as np
import pytest

from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.heads.base import HeadConfig
from tests.support.worlds import draw, make_world


def area(kind, seed, **options):
    world = make_world(seed)
    train, test = draw(world, 2000, seed=100 + seed), draw(world, 2000, seed=200 + seed)
    head = HeadConfig(kind=kind, options=options).build()
    head.fit(train.x, train.quality, rng=np.random.default_rng(seed))
    expected = np.broadcast_to(train.cost_usd.mean(axis=0), test.cost_usd.shape)
    costs, _ = single_models(test.chance, test.cost_usd)
    points = curve(head.predict_mean(test.x), expected, test.chance, test.cost_usd)
    return area_under_hull(*points, low=costs.min(), high=costs.max())


@pytest.mark.parametrize(
    ("kind", "options", "reference"),
    [
        ("cluster", {}, 0.828),
        ("cluster", {"n_clusters": 8}, 0.828),
        ("cluster", {"n_clusters": 64}, 0.828),
        ("cluster", {"assignment": "soft"}, 0.828),
        ("logistic", {}, 0.825),
        # No value is published for boosted trees; they should do what a regression does.
        ("boosting", {"n_trees": 30}, 0.825),
    ],
)
def test_heads_reach_their_reference_area(kind, options, reference):
    mean = np.mean([area(kind, seed, **options) for seed in range(5)])
    assert mean == pytest.approx(reference, abs=0.01)
