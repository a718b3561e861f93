import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from routers.errors import DataError
from routers.heads.boosting import BoostingHead, bin_edges, bin_index

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 5)).astype(np.float32)
QUERIES = RNG.normal(size=(200, 5)).astype(np.float32)
EDGES = bin_edges(X)
BINS, BINNED_QUERIES = bin_index(X, EDGES), bin_index(QUERIES, EDGES)
LOGIT = 3 * (X[:, 0] > 0) * (X[:, 1] > 0) - 1
CHANCE = 1 / (1 + np.exp(-LOGIT))


def fitted(y, **options):
    return BoostingHead(**options).fit(X, np.asarray(y, np.float32), rng=np.random.default_rng(0))


def reference(cls):
    return cls(
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        learning_rate=0.1,
        l2_regularization=1.0,
        early_stopping=False,
    )


def test_serving_chances_equals_scikit_learn():
    rng = np.random.default_rng(1)
    y = (rng.random((500, 2)) < CHANCE[:, None]).astype(np.float32)
    y[::7, 1] = np.nan
    mean, _ = fitted(y).predict(QUERIES)
    for model in range(2):
        known = ~np.isnan(y[:, model])
        theirs = reference(HistGradientBoostingClassifier).fit(BINS[known], y[known, model])
        expected = theirs.predict_proba(BINNED_QUERIES)[:, 1]
        np.testing.assert_allclose(mean[:, model], expected, atol=1e-6)


def test_serving_values_equals_scikit_learn():
    rng = np.random.default_rng(1)
    y = (4 * X[:, :1] + X[:, 1:2] ** 2 + rng.normal(size=(500, 1))).astype(np.float32)
    theirs = reference(HistGradientBoostingRegressor).fit(BINS, y[:, 0])
    mean, _ = fitted(y, loss="squared").predict(QUERIES)
    np.testing.assert_allclose(mean[:, 0], theirs.predict(BINNED_QUERIES), rtol=1e-6, atol=1e-5)


def test_bins_and_edges_split_alike():
    for feature, edges in enumerate(EDGES):
        for k in (0, 100, len(edges) - 1):
            left = QUERIES[:, feature] <= edges[k]
            np.testing.assert_array_equal(BINNED_QUERIES[:, feature] <= k, left)


def test_soft_labels_are_learned_as_shares():
    mean, _ = fitted(CHANCE[:, None]).predict(X)
    assert np.abs(mean[:, 0] - CHANCE).mean() < 0.02


def test_interactions_are_found():
    y = (X[:, :1] * X[:, 1:2] > 0).astype(np.float32)
    mean, _ = fitted(y).predict(QUERIES)
    assert ((mean[:, 0] > 0.5) == (QUERIES[:, 0] * QUERIES[:, 1] > 0)).mean() > 0.85


def test_the_size_is_bounded_by_the_options():
    rng = np.random.default_rng(1)
    y = (rng.random((500, 3)) < CHANCE[:, None]).astype(np.float32)
    head = fitted(y, n_trees=10, max_leaves=4)
    assert len(head.value_) <= 3 * 10 * 7
    assert sum(array.nbytes for array in head.state().values()) < 3 * 10 * 4 * 60


@pytest.mark.parametrize(("loss", "expected"), [("logistic", 500.5 / 501), ("squared", 1.0)])
def test_a_constant_label_needs_no_tree(loss, expected):
    mean, std = fitted(np.ones((500, 1)), loss=loss).predict(QUERIES)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert (std < 0.05).all()


def test_rare_leaves_are_less_certain():
    rng = np.random.default_rng(1)
    x = np.concatenate([np.zeros((480, 1)), np.ones((20, 1))]).astype(np.float32)
    y = (rng.random((500, 1)) < 0.2 + 0.6 * x).astype(np.float32)
    head = BoostingHead().fit(x, y, rng=np.random.default_rng(0))
    _, std = head.predict(np.asarray([[0], [1]], np.float32))
    assert std[1, 0] > 2 * std[0, 0]


def test_values_that_are_no_shares_need_squared_loss():
    with pytest.raises(DataError, match="squared"):
        fitted(np.full((500, 1), 5.0))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("children", np.zeros_like),
        ("children", lambda a: a + 10**6),
        ("feature", lambda a: a + 5),
        ("roots", lambda a: a - 10**6),
        ("noise_var", lambda a: a[:0]),
        ("value", lambda a: a[:-1]),
    ],
)
def test_trees_that_lead_nowhere_are_refused(name, change):
    state = fitted((X[:, :1] > 0).astype(np.float32)).state()
    with pytest.raises(ValueError, match="boosting head"):
        BoostingHead().restore(state | {name: change(state[name])})
