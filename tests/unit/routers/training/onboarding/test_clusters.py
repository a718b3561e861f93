import numpy as np
import pytest

from routers.training.onboarding.clusters import cluster_centers, shrunk_errors
from tests.support.worlds import draw, make_world


def test_the_golden_shrinkage():
    # Three errors in four, and an overall error of 0.4: 12 in 30.
    errors = np.asarray([1, 1, 1, 0] + [1] * 9 + [0] * 17, float)
    clusters = np.asarray([0] * 4 + [1] * 26)
    assert errors.mean() == pytest.approx(0.4)
    assert shrunk_errors(errors, clusters, 2, strength=5)[0] == pytest.approx(0.5556, abs=5e-5)


def test_an_empty_cluster_has_the_overall_error():
    found = shrunk_errors(np.asarray([1.0, 0.0]), np.asarray([0, 0]), 3)
    assert found.tolist() == [0.5, 0.5, 0.5]


def test_clusters_find_the_topics_of_the_synthetic_world():
    sample = draw(make_world(1), 600, seed=2)
    centers = cluster_centers(sample.x, 8)
    found = (sample.x @ centers.T).argmax(axis=1)
    pure = sum(np.bincount(sample.cluster[found == k]).max() for k in np.unique(found))
    assert pure / 600 > 0.85
    assert np.linalg.norm(centers, axis=1) == pytest.approx(np.ones(len(centers)), abs=1e-5)
    assert (cluster_centers(sample.x, 8) == centers).all()


def test_equal_rows_make_one_cluster():
    assert cluster_centers(np.ones((5, 3), np.float32), 4).shape == (1, 3)
