import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from routers.heads.linear import LinearHead

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(200, 10)) * RNG.uniform(0.1, 3, 10) + 1).astype(np.float32)
W = RNG.normal(size=(10, 3))
Y = (X @ W + RNG.normal(0, [0.1, 1, 10], (200, 3))).astype(np.float32)
QUERIES = (RNG.normal(size=(40, 10)) + 1).astype(np.float32)


def fitted(y=Y) -> LinearHead:
    return LinearHead().fit(X, y, rng=np.random.default_rng(0))


def reference(y, rows):
    scaler = StandardScaler().fit(X)
    alphas = LinearHead().alphas
    return RidgeCV(alphas=alphas).fit(scaler.transform(X[rows]), y[rows]), scaler


def test_predictions_equal_scikit_learns():
    mean, _ = fitted().predict(QUERIES)
    for model in range(3):
        ridge, scaler = reference(Y[:, model], np.arange(200))
        expected = ridge.predict(scaler.transform(QUERIES))
        np.testing.assert_allclose(mean[:, model], expected, rtol=1e-6, atol=1e-6)


def test_a_model_tried_on_some_rows_is_fitted_on_those():
    y = Y.copy()
    y[::2, 1] = np.nan
    mean, _ = fitted(y).predict(QUERIES)
    ridge, scaler = reference(y[:, 1], np.arange(1, 200, 2))
    expected = ridge.predict(scaler.transform(QUERIES))
    np.testing.assert_allclose(mean[:, 1], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(mean[:, 0], fitted().predict(QUERIES)[0][:, 0])


def test_a_constant_model_is_predicted_as_such():
    y = Y.copy()
    y[:, 2] = 0.5
    mean, std = fitted(y).predict(QUERIES)
    np.testing.assert_allclose(mean[:, 2], 0.5, atol=1e-6)
    assert np.isfinite(std).all()


def test_a_constant_feature_does_no_harm():
    rng = np.random.default_rng(1)
    x = X.copy()
    x[:, 0] = 7
    mean, std = LinearHead().fit(x, Y, rng=rng).predict(x)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()


def test_uncertainty_covers_the_error_of_the_regression():
    # Bayesian ridge on its own model: the error of the mean, over its deviation, has variance 1.
    ratios = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(150, 20)).astype(np.float32)
        w = rng.normal(size=(20, 1)) * 0.3
        y = (x @ w + rng.normal(0, 1, (150, 1))).astype(np.float32)
        queries = rng.normal(size=(20, 20)).astype(np.float32)
        mean, std = LinearHead().fit(x, y, rng=rng).predict(queries)
        ratios.append((mean - queries @ w) / std)
    assert np.sqrt(np.mean(np.square(ratios))) == pytest.approx(1.0, abs=0.25)


def test_far_queries_are_less_certain():
    _, near = fitted().predict(X[:5])
    _, far = fitted().predict(X[:5] * 20)
    assert (far > near).all()
