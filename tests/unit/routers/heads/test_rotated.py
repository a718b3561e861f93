import numpy as np

from routers.heads.linear import LinearHead
from routers.heads.rotated import RotatedHead

N, D, MODELS = 150, 10, 8


def outcomes(seed, *, apart, n=N):
    """Right or wrong: mostly a matter of the query, by `apart` also of which model it is."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D)).astype(np.float32)
    suits = np.zeros((D, MODELS))
    suits[1] = np.linspace(-1, 1, MODELS)
    chance = np.clip(0.5 + 0.2 * x[:, :1] + apart * (x @ suits), 0.02, 0.98)
    return x, (rng.random((n, MODELS)) < chance).astype(np.float32), chance


def apart_error(head, seed, *, apart):
    """Squared error of the predicted differences between models, over that of predicting none."""
    x, y, _ = outcomes(seed, apart=apart)
    queries, _, chance = outcomes(seed + 100, apart=apart, n=2000)
    predicted = head.fit(x, y, rng=np.random.default_rng(0)).predict_mean(queries)
    truth = chance - chance.mean(axis=1, keepdims=True)
    found = predicted - predicted.mean(axis=1, keepdims=True)
    nothing = np.broadcast_to(truth.mean(axis=0), truth.shape)
    return float(((found - truth) ** 2).mean()), float(((nothing - truth) ** 2).mean())


def test_models_that_differ_in_nothing_are_told_apart_less_than_by_a_penalty_each():
    ours, theirs = (
        np.mean([apart_error(head(), seed, apart=0)[0] for seed in range(5)])
        for head in (RotatedHead, LinearHead)
    )
    assert ours < 0.7 * theirs


def test_what_suits_which_model_is_found_where_there_is_something_to_find():
    errors = np.array([apart_error(RotatedHead(), seed, apart=0.3) for seed in range(5)])
    assert errors[:, 0].mean() < 0.5 * errors[:, 1].mean()


def test_how_hard_a_query_is_moves_all_models_alike():
    x, y, chance = outcomes(0, apart=0)
    predicted = RotatedHead().fit(x, y, rng=np.random.default_rng(0)).predict_mean(x)
    assert np.corrcoef(predicted.mean(axis=1), chance[:, 0])[0, 1] > 0.8


def test_a_few_unknown_outcomes_change_little():
    x, y, _ = outcomes(0, apart=0.15)
    holes = y.copy()
    holes[np.random.default_rng(1).random(y.shape) < 0.02] = np.nan
    full, most = (
        RotatedHead().fit(x, each, rng=np.random.default_rng(0)).predict_mean(x)
        for each in (y, holes)
    )
    assert np.corrcoef(full.ravel(), most.ravel())[0, 1] > 0.97


def test_models_tried_on_different_queries_are_regressed_by_themselves():
    x, y, _ = outcomes(0, apart=0.15)
    y[np.arange(N) % 2 == 0, ::2] = np.nan
    ours, linear = (
        head().fit(x, y, rng=np.random.default_rng(0)).predict_mean(x)
        for head in (RotatedHead, type("Floored", (LinearHead,), {"least_spread": 1.0}))
    )
    np.testing.assert_array_equal(ours, linear)
