import numpy as np
import pytest

from routers.heads.cluster import ClusterHead

RNG = np.random.default_rng(0)
CENTERS = np.eye(4, 8, dtype=np.float32)
CLUSTER = RNG.integers(0, 4, 400)
X = (CENTERS[CLUSTER] + 0.05 * RNG.normal(size=(400, 8))).astype(np.float32)
CHANCE = np.asarray([0.1, 0.4, 0.6, 0.9])


def fitted(y, **options):
    head = ClusterHead(**{"n_clusters": 4} | options)
    return head.fit(X, np.asarray(y, np.float32), rng=np.random.default_rng(0))


def test_a_cell_is_the_shrunk_mean_of_its_cluster():
    rng = np.random.default_rng(1)
    y = (rng.random((400, 1)) < CHANCE[CLUSTER][:, None]).astype(np.float32)
    mean, _ = fitted(y).predict(CENTERS)
    for j in range(4):
        inside = y[j == CLUSTER, 0]
        expected = (inside.sum() + 5 * y.mean()) / (len(inside) + 5)
        assert mean[j, 0] == pytest.approx(expected, abs=1e-6)


def test_the_golden_shrinkage():
    # Three errors in four, overall 0.4, five prior observations: (3 + 5 * 0.4) / 9 = 0.5556.
    x = np.asarray([[1, 0]] * 4 + [[0, 1]] * 16, np.float32)
    y = np.asarray([1, 1, 1, 0] + [1] * 5 + [0] * 11, np.float32)[:, None]
    assert y.mean() == pytest.approx(0.4)
    head = ClusterHead(n_clusters=2).fit(x, y, rng=np.random.default_rng(0))
    assert head.predict(x[:1])[0][0, 0] == pytest.approx(0.5556, abs=1e-4)


def test_a_cluster_in_which_a_model_was_never_tried_tells_its_mean():
    rng = np.random.default_rng(1)
    y = (rng.random((400, 2)) < CHANCE[CLUSTER][:, None]).astype(np.float32)
    y[CLUSTER == 3, 1] = np.nan
    mean, std = fitted(y).predict(CENTERS)
    assert mean[3, 1] == pytest.approx(np.nanmean(y[:, 1]), abs=1e-6)
    assert std[3, 1] > 2 * std[2, 1]


def test_soft_assignment_blends_neighbouring_clusters():
    y = CHANCE[CLUSTER][:, None]
    between = (CENTERS[:1] + CENTERS[3:]) / np.sqrt(2)
    near, far = fitted(y), fitted(y, assignment="soft")
    assert near.predict(between)[0][0, 0] in near.table_
    middle = far.predict(between)[0][0, 0]
    assert middle == pytest.approx((CHANCE[0] + CHANCE[3]) / 2, abs=0.06)


def test_the_golden_weights_of_soft_assignment():
    # Distances 0.2, 0.3, 0.5 at sharpness 9, of which the nearest three count.
    head = ClusterHead(assignment="soft")
    head.centers_ = np.asarray([[0.5], [0.8], [0.7], [0.1]], np.float32)
    at, weight = head._assign(np.ones((1, 1), np.float32))
    assert at.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(weight, [[0.6785, 0.2759, 0.0456]], atol=5e-5)


def test_there_are_no_more_clusters_than_different_rows():
    x = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    head = ClusterHead(n_clusters=25).fit(x, x, rng=np.random.default_rng(0))
    assert len(head.centers_) == 2


def test_unfamiliar_queries_are_far_from_every_centre():
    head = fitted(CHANCE[CLUSTER][:, None])
    assert head.similarity(CENTERS).min() > 0.95
    assert head.similarity(np.eye(8, dtype=np.float32)[7:])[0] < 0.2
