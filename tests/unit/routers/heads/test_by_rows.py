import numpy as np
import pytest

from routers.heads.base import HeadConfig
from routers.heads.by_rows import ByRowsHead

FEW, MANY = HeadConfig(kind="linear"), HeadConfig(kind="cluster")


def sample(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    return x, np.clip(0.5 + 0.2 * x[:, :2], 0, 1).astype(np.float32)


def fitted(n, **options):
    head = ByRowsHead(
        few=FEW, many=MANY, all_until=100, none_from=900, **({"half_at": 0} | options)
    )
    return head.fit(*sample(n), rng=np.random.default_rng(0))


@pytest.mark.parametrize(("n", "weight"), [(30, 0.5), (100, 0.5), (300, 0.25), (900, 0), (1200, 0)])
def test_the_weight_falls_with_the_logarithm_of_the_rows(n, weight):
    head = fitted(n)
    assert head.weight_[0] == pytest.approx(weight)
    queries, _ = sample(20, seed=1)
    many = MANY.build().fit(*sample(n), rng=np.random.default_rng(0)).predict_mean(queries)
    few = FEW.build().fit(*sample(n), rng=np.random.default_rng(0)).predict_mean(queries)
    np.testing.assert_allclose(
        head.predict(queries)[0], (1 - weight) * many + weight * few, atol=1e-5
    )


def test_outcomes_are_counted_per_model():
    x, y = sample(400)
    y[np.arange(400) % 4 != 0] = np.nan
    head = ByRowsHead(few=FEW, many=MANY, all_until=100, none_from=900)
    assert head.fit(x, y, rng=np.random.default_rng(0)).weight_[0] == pytest.approx(0.5)


def test_what_has_no_weight_is_not_stored():
    assert not [name for name in fitted(900).state() if name.startswith("few.")]
    assert [name for name in fitted(300).state() if name.startswith("few.")]


@pytest.mark.parametrize(("n", "kept"), [(50, 0.1), (150, 0.5), (450, 0.9)])
def test_with_few_outcomes_queries_hardly_tell_models_apart(n, kept):
    queries, _ = sample(20, seed=1)
    whole, shrunk = (fitted(n, half_at=each).predict(queries)[0] for each in (0, 150))
    mean = sample(n)[1].mean(axis=0)
    np.testing.assert_allclose(shrunk.mean(axis=1), whole.mean(axis=1), atol=1e-5)
    apart = [(each - mean) - (each - mean).mean(axis=1)[:, None] for each in (whole, shrunk)]
    np.testing.assert_allclose(apart[1], kept * apart[0], atol=1e-5)


def test_disagreement_widens_the_uncertainty():
    queries, _ = sample(20, seed=1)
    head = fitted(100)
    alone = head.many_.predict(queries)[1]
    apart = np.abs(head.few_.predict_mean(queries) - head.many_.predict_mean(queries))
    np.testing.assert_allclose(head.predict(queries)[1], np.hypot(alone, apart / 2), rtol=1e-4)


def test_after_narrowing_the_first_models_are_left():
    x, y = sample(60)
    head = ByRowsHead().fit(x, np.hstack([y, y]), rng=np.random.default_rng(0))
    before = head.predict(x)[0][:, :2]
    head.narrow(2)
    np.testing.assert_allclose(head.predict(x)[0], before, atol=1e-6)


@pytest.mark.parametrize("weight", [np.array([0.0]), np.array([2.0]), np.ones(2)])
def test_a_weight_that_fits_nothing_is_refused(weight):
    state = fitted(100).state() | {"weight": weight}
    with pytest.raises(ValueError, match="by-rows"):
        ByRowsHead(few=FEW, many=MANY).restore(state)
