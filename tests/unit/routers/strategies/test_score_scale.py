import numpy as np
import pytest

from routers.strategies._score_scale import ISOTONIC_FROM, ScoreScale, regress


def outcomes(n, seed=0, *, bend=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 2)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(bend * scores + shift)))
    return scores, chance, (rng.random(chance.shape) < chance).astype(np.float32)


@pytest.mark.parametrize("n", [200, 4 * ISOTONIC_FROM])
def test_scores_become_the_chances_behind_them(n):
    scores, _, quality = outcomes(n, bend=2.0, shift=0.5)
    fresh, chance, _ = outcomes(2000, seed=1, bend=2.0, shift=0.5)
    found = ScoreScale.fit(scores, quality).quality(fresh)
    assert np.sqrt(((found - chance) ** 2).mean()) < 0.08


def test_a_higher_score_is_never_of_less_quality():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, 1)).astype(np.float32)
    steps = 0.2 + 0.6 * (np.abs(scores) < 1)  # no order in it at all
    quality = (rng.random(scores.shape) < steps).astype(np.float32)
    grid = np.linspace(-5, 5, 201, dtype=np.float32)[:, None]
    assert (np.diff(ScoreScale.fit(scores, quality).quality(grid)[:, 0]) >= -1e-6).all()


def test_with_many_outcomes_a_step_is_found_that_no_logistic_curve_has():
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, (6000, 1)).astype(np.float32)
    step = np.where(scores > 0, 0.9, 0.3)
    quality = (rng.random(scores.shape) < step).astype(np.float32)
    found = ScoreScale.fit(scores, quality).quality(np.array([[-0.9], [0.9]], np.float32))[:, 0]
    np.testing.assert_allclose(found, [0.3, 0.9], atol=0.03)


def test_a_score_that_tells_nothing_beyond_the_domain_changes_nothing():
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.2, 0.8, (3000, 2)).astype(np.float32)
    quality = (rng.random(expected.shape) < expected).astype(np.float32)
    noise = rng.normal(size=expected.shape).astype(np.float32)
    scale = ScoreScale.fit(noise, quality, expected)
    assert scale.weights[0] < 0.1
    assert np.abs(scale.quality(noise, expected) - expected).max() < 0.1
    assert (ScoreScale.fit(-expected, quality, expected).weights >= 0).all()


def test_of_a_model_that_was_not_trained_its_score_alone_tells():
    scores, _, quality = outcomes(3000)
    fresh, chance, _ = outcomes(500, seed=1)
    found = ScoreScale.fit(scores, quality).quality_of_another(fresh[:, 0])
    assert np.sqrt(((found[:, 0] - chance[:, 0]) ** 2).mean()) < 0.05


def test_equal_scores_and_equal_outcomes_are_no_error():
    same = np.zeros((50, 2), np.float32)
    found = ScoreScale.fit(same, np.ones((50, 2), np.float32)).quality(same)
    assert (found > 0.9).all()
    assert np.isfinite(found).all()


def test_the_regression_is_the_one_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    scores, _, quality = outcomes(2000, bend=1.5, shift=-0.3)
    theirs = LogisticRegression(C=1e6).fit(scores[:, :1], quality[:, 0])
    ours = regress(scores[:, :1].astype(float), quality[:, 0].astype(float))
    assert ours == pytest.approx([theirs.coef_[0, 0], theirs.intercept_[0]], abs=0.01)
