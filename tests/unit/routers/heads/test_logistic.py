import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from routers.errors import DataError
from routers.heads.logistic import LogisticHead, soft_rows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6)).astype(np.float32)
SHARE = 1 / (1 + np.exp(-X[:, 0] + 0.5 * X[:, 1]))
QUERIES = RNG.normal(size=(40, 6)).astype(np.float32)


def fitted(y, **options):
    return LogisticHead(**options).fit(X, np.asarray(y, np.float32), rng=np.random.default_rng(0))


def standardised(head, x):
    return (x.astype(float) - X.astype(float).mean(axis=0)) / X.astype(float).std(axis=0)


def test_serving_equals_scikit_learn():
    rng = np.random.default_rng(1)
    y = (rng.random((300, 2)) < SHARE[:, None]).astype(np.float32)
    y[:40, 1] = np.nan
    head = fitted(y, c=0.3)
    for model in range(2):
        known = ~np.isnan(y[:, model])
        reference = LogisticRegression(C=0.3, max_iter=300, tol=1e-5)
        reference.fit(standardised(head, X[known]), y[known, model])
        expected = reference.predict_proba(standardised(head, QUERIES))[:, 1]
        np.testing.assert_allclose(head.predict(QUERIES)[0][:, model], expected, atol=1e-6)


def test_a_soft_label_is_two_weighted_rows():
    rows, label, weight = soft_rows(np.asarray([0.25, 1.0, 0.0]))
    told = sorted(zip(rows.tolist(), label.tolist(), weight.tolist(), strict=True))
    assert told == [(0, 0, 0.75), (0, 1, 0.25), (1, 1, 1.0), (2, 0, 1.0)]


def test_soft_labels_say_what_many_hard_ones_say():
    rng = np.random.default_rng(1)
    # Ten answers to each query against their mean: the same likelihood, up to its scale.
    hard = (rng.random((10, 300)) < SHARE).astype(np.float32)
    soft = fitted(hard.mean(axis=0)[:, None], c=10.0)
    many = LogisticHead(c=1.0).fit(
        np.tile(X, (10, 1)), hard.reshape(-1, 1), rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(soft.predict(QUERIES)[0], many.predict(QUERIES)[0], atol=1e-4)


def test_the_penalty_is_strong_where_there_is_nothing_to_learn():
    rng = np.random.default_rng(7)
    noise = (rng.random((300, 1)) < 0.4).astype(np.float32)
    spread_of_noise = fitted(noise).predict(QUERIES)[0].std()
    signal = (rng.random((300, 1)) < SHARE[:, None]).astype(np.float32)
    assert spread_of_noise < 0.5 * fitted(signal).predict(QUERIES)[0].std()


def test_a_constant_label_gives_a_chance_short_of_certainty():
    mean, std = fitted(np.ones((300, 1))).predict(QUERIES)
    np.testing.assert_allclose(mean, 301 / 302, atol=1e-6)
    assert (std < 0.1).all()
    np.testing.assert_allclose(fitted(np.full((300, 1), 0.3)).predict(QUERIES)[0], 0.3, atol=1e-6)


def test_unfamiliar_queries_are_less_certain():
    rng = np.random.default_rng(1)
    y = (rng.random((300, 1)) < 0.5).astype(np.float32)
    head = fitted(y, c=0.1)
    assert head.predict(QUERIES * 4)[1].mean() > 1.5 * head.predict(QUERIES)[1].mean()


def test_values_that_are_no_shares_are_refused():
    with pytest.raises(DataError, match="0 to 1"):
        fitted(np.full((300, 1), 5.0))
