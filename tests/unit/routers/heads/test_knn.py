import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.neighbors import KNeighborsRegressor

from routers.errors import NotFittedError, RoutingConfigError
from routers.heads.base import HeadConfig
from routers.heads.knn import KnnHead

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 12)).astype(np.float32)
Y = RNG.random((300, 4)).astype(np.float32)
QUERIES = RNG.normal(size=(50, 12)).astype(np.float32)


def fitted(**options) -> KnnHead:
    return KnnHead(**options).fit(X, Y, rng=np.random.default_rng(0))


@pytest.mark.parametrize("k", [1, 5, 100, 300])
def test_predictions_equal_scikit_learns(k):
    mean, _ = fitted(n_neighbors=k, storage="float32").predict(QUERIES)
    reference = KNeighborsRegressor(n_neighbors=k, metric="cosine").fit(X, Y)
    np.testing.assert_allclose(mean, reference.predict(QUERIES), atol=1e-6)


def test_half_precision_queries_still_equal_scikit_learns_on_the_rounded_rows():
    head = fitted(n_neighbors=20)
    reference = KNeighborsRegressor(n_neighbors=20, metric="cosine").fit(head.x_, Y)
    np.testing.assert_allclose(head.predict(QUERIES)[0], reference.predict(QUERIES), atol=1e-6)


def test_more_neighbours_than_rows_average_everything():
    mean, _ = fitted(n_neighbors=10_000).predict(QUERIES)
    np.testing.assert_allclose(mean, np.tile(Y.mean(axis=0), (50, 1)), atol=1e-6)


def test_models_that_were_not_tried_are_left_out_of_the_average():
    x = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    y = np.array([[1, np.nan], [0, np.nan], [0, 0.25]], np.float32)
    head = KnnHead(n_neighbors=2).fit(x, y, rng=np.random.default_rng(0))
    mean, std = head.predict(np.array([[1, 0.05]], np.float32))
    assert mean.tolist() == [[0.5, 0.25]]  # the second: nobody near tried it, so its mean
    assert np.isfinite(std).all()


def test_uncertainty_is_that_of_a_mean_of_k():
    # Pure noise: the k nearest are a random draw, whose mean scatters by sd / sqrt(k).
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 16)).astype(np.float32)
    y = (rng.random((4000, 1)) < 0.3).astype(np.float32)
    head = KnnHead(n_neighbors=100).fit(x, y, rng=rng)
    mean, std = head.predict(rng.normal(size=(400, 16)).astype(np.float32))
    assert std.mean() == pytest.approx(np.std(mean), rel=0.2)


def test_agreement_of_few_neighbours_is_not_certainty():
    x = np.eye(4, dtype=np.float32)
    y = np.array([[1], [1], [0], [0]], np.float32)
    head = KnnHead(n_neighbors=1).fit(x, y, rng=np.random.default_rng(0))
    assert (head.predict(x)[1] > 0.1).all()


def test_auto_takes_many_neighbours_for_noise_and_few_for_structure():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1000, 2)).astype(np.float32)
    angle = np.arctan2(x[:, 1], x[:, 0])
    sharp = ((angle * 20).astype(int) % 2)[:, None].astype(np.float32)
    noise = rng.random((1000, 1)).astype(np.float32)
    assert KnnHead(n_neighbors="auto").fit(x, sharp, rng=rng).k_ == 10
    assert KnnHead(n_neighbors="auto").fit(x, noise, rng=rng).k_ > 40


@pytest.mark.parametrize("options", [{"n_neighbors": 0}, {"n_neighbors": "many"}, {"k": 3}])
def test_wrong_options_are_named(options):
    with pytest.raises(RoutingConfigError, match=next(iter(options))):
        HeadConfig(kind="knn", options=options).build()


def test_the_neighbours_can_be_named():
    head = fitted(n_neighbors=7, storage="float32")
    nearest = head.nearest(QUERIES)
    assert nearest.shape == (50, 7)
    np.testing.assert_allclose(head.predict(QUERIES)[0], Y[nearest].mean(axis=1), atol=1e-6)
    reference = KNeighborsRegressor(n_neighbors=7, metric="cosine").fit(X, Y)
    expected = reference.kneighbors(QUERIES, return_distance=False)
    assert np.sort(nearest).tolist() == np.sort(expected).tolist()
    with pytest.raises(NotFittedError, match="fitted"):
        KnnHead().nearest(QUERIES)


def test_states_whose_parts_do_not_match_are_refused():
    state = fitted().state()
    for wrong in ({"y": Y[:-1]}, {"k": np.asarray([0])}, {"k": np.asarray([301])}):
        with pytest.raises(ValueError, match="do not match"):
            KnnHead().restore(state | wrong)


@pytest.mark.parametrize("seed", range(3))
def test_the_number_of_neighbours_by_r2_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    # Columns of very different spread: by squared error the second alone would decide.
    y = np.stack([x[:, 0] > 0, 100 * rng.random(400)], axis=1).astype(np.float32)
    head = KnnHead(n_neighbors="r2", storage="float32").fit(x, y, rng=np.random.default_rng(7))
    folds = PredefinedSplit(np.random.default_rng(7).permutation(400) % 5)
    scores = {
        k: cross_val_score(
            KNeighborsRegressor(n_neighbors=k, metric="cosine"), x, y, cv=folds, scoring="r2"
        ).mean()
        for k in (2, 4, 8, 16, 32, 64, 128, 256)
    }
    assert head.k_ == max(scores, key=scores.get)


def test_few_rows_have_as_many_neighbours_as_there_are():
    x, y = X[:3], Y[:3]
    assert KnnHead(n_neighbors="r2").fit(x, y, rng=np.random.default_rng(0)).k_ == 2
    assert KnnHead(n_neighbors="r2").fit(x[:1], y[:1], rng=np.random.default_rng(0)).k_ == 1
