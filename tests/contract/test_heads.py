"""What every head promises, whatever its kind."""

import functools
import io

import numpy as np
import pytest

from routers.errors import DataError, NotFittedError
from routers.heads.base import HEADS, Head, HeadConfig

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 8)).astype(np.float32)
Y = (RNG.random((120, 3)) < [0.2, 0.5, 0.8]).astype(np.float32)
Y_HOLES = np.where(RNG.random(Y.shape) < 0.3, np.nan, Y).astype(np.float32)
QUERIES = RNG.normal(size=(33, 8)).astype(np.float32)

every_kind = pytest.mark.parametrize("kind", HEADS.kinds())


def new(kind: str) -> Head:
    return HeadConfig(kind=kind).build()


def fit(kind: str, y=Y) -> Head:
    return new(kind).fit(X, y, rng=np.random.default_rng(1))


@functools.cache
def fitted(kind: str, *, holes: bool) -> Head:
    """Return a head that was fitted once, for tests that only ask it."""
    return fit(kind, Y_HOLES if holes else Y)


@functools.cache
def fitted_again(kind: str) -> tuple[Head, Head]:
    """Return a head that was fitted a second time, and what its `fit` returned."""
    head = new(kind)
    return head, head.fit(X, Y, rng=np.random.default_rng(1))


@every_kind
def test_fit_returns_the_head_itself(kind):
    head, returned = fitted_again(kind)
    assert returned is head
    assert head.kind == kind


@every_kind
def test_an_unfitted_head_refuses(kind):
    with pytest.raises(NotFittedError, match="fitted"):
        new(kind).predict(QUERIES)
    with pytest.raises(NotFittedError, match="fitted"):
        new(kind).state()


@every_kind
@pytest.mark.parametrize("holes", [False, True], ids=["full", "holes"])
def test_predictions_are_finite_and_of_the_right_shape(kind, holes):
    mean, std = fitted(kind, holes=holes).predict(QUERIES)
    assert mean.shape == std.shape == (33, 3)
    assert mean.dtype == std.dtype == np.float32
    assert np.isfinite(mean).all()
    np.testing.assert_array_equal(mean, fitted(kind, holes=holes).predict_mean(QUERIES))
    assert (np.isfinite(std) & (std >= 0)).all()


@every_kind
def test_columns_keep_their_order(kind):
    averages = fitted(kind, holes=False).predict(X)[0].mean(axis=0)
    assert averages.argsort().tolist() == [0, 1, 2]


@every_kind
def test_rows_are_predicted_independently(kind):
    head = fitted(kind, holes=False)
    together, alone = head.predict(QUERIES), [head.predict(QUERIES[i : i + 1]) for i in range(33)]
    for part in range(2):
        stacked = np.vstack([each[part] for each in alone])
        np.testing.assert_allclose(together[part], stacked, atol=1e-5)


@every_kind
def test_no_rows_give_no_predictions(kind):
    mean, std = fitted(kind, holes=False).predict(QUERIES[:0])
    assert mean.shape == std.shape == (0, 3)


@every_kind
def test_a_restored_head_predicts_the_same_to_the_last_bit(kind):
    head = fitted(kind, holes=True)
    file = io.BytesIO()
    np.savez(file, **head.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as state:
        again = new(kind).restore(dict(state))
    for before, after in zip(head.predict(QUERIES), again.predict(QUERIES), strict=True):
        assert before.tobytes() == after.tobytes()
    assert again.state().keys() == head.state().keys()


@every_kind
def test_the_same_seed_gives_the_same_head(kind):
    again, _ = fitted_again(kind)
    first, second = fitted(kind, holes=False).predict(QUERIES), again.predict(QUERIES)
    assert first[0].tobytes() == second[0].tobytes()


@every_kind
def test_incomplete_states_are_refused(kind):
    state = fitted(kind, holes=False).state()
    for name in state:
        with pytest.raises((KeyError, ValueError)):
            new(kind).restore({key: value for key, value in state.items() if key != name})
        with pytest.raises((KeyError, ValueError)):
            new(kind).restore(state | {name: np.zeros((1, 1, 1, 1), np.float32)})


@every_kind
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X[:0], Y[:0]),
        (X, Y[:-1]),
        (X, np.where([True, False, False], np.nan, Y).astype(np.float32)),
    ],
    ids=["empty", "mismatch", "silent"],
)
def test_data_that_cannot_be_learned_is_refused(kind, x, y):
    with pytest.raises(DataError):
        new(kind).fit(x, y, rng=np.random.default_rng(0))


@every_kind
def test_signal_is_found(kind):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 8)).astype(np.float32)
    y = (x[:, :1] > 0).astype(np.float32)
    queries = rng.normal(size=(300, 8)).astype(np.float32)
    mean, _ = new(kind).fit(x, y, rng=rng).predict(queries)
    truth = queries[:, 0] > 0
    assert mean[truth, 0].mean() > mean[~truth, 0].mean() + 0.3


@every_kind
def test_a_start_is_learned_from_or_refused(kind):
    head = new(kind)
    start = np.full_like(Y, 0.5)
    if not head.learns_residuals:
        with pytest.raises(NotImplementedError, match="residuals"):
            head.fit(X, Y, rng=np.random.default_rng(0), start=start)
        return
    head.fit(X, Y, rng=np.random.default_rng(0), start=start)
    low, _ = head.predict_residual(QUERIES, np.full((33, 3), 0.1, np.float32))
    high, _ = head.predict_residual(QUERIES, np.full((33, 3), 0.9, np.float32))
    assert (low < high).all()
