import numpy as np
import pytest

from routers.artifact.correction import Correction
from routers.training.calibrate import threshold_for
from routers.training.correct import fit_correction
from routers.types import Predictions


def test_quality_is_interpolated_and_the_rest_untouched():
    correction = Correction(
        at=np.array([[0, 0.5, 1]], np.float32), to=np.array([[0.1, 0.2, 1]], np.float32)
    )
    ones = np.ones((3, 1), np.float32)
    given = Predictions(
        quality=np.array([[0], [0.25], [0.75]], np.float32),
        quality_std=ones,
        output_tokens=ones,
        output_tokens_upper=ones,
    )
    found = correction.apply(given)
    assert found.quality.dtype == np.float32
    assert found.quality[:, 0] == pytest.approx([0.1, 0.15, 0.6])
    assert found.quality_std is ones
    again = Correction.restore(correction.state())
    assert (again.quality(given.quality) == found.quality).all()


@pytest.mark.parametrize(
    ("at", "to"),
    [
        ([[0, 0, 1]], [[0, 0.5, 1]]),
        ([[0, 0.5, 1]], [[0, 0.6, 0.5]]),
        ([[0, 0.5, 1]], [[0, 0.5, 1.5]]),
        ([[0, 0.5, 1]], [[0, np.nan, 1]]),
        ([[0, 1]], [[0, 0.5, 1]]),
        ([[1]], [[1]]),
    ],
)
def test_what_is_no_monotone_map_is_refused(at, to):
    with pytest.raises(ValueError, match="correction"):
        Correction(at=np.asarray(at, np.float32), to=np.asarray(to, np.float32))


@pytest.mark.parametrize("n", [200, 5000])
def test_a_known_distortion_is_undone(n):
    rng = np.random.default_rng(0)
    chance = rng.random((n, 2))
    predicted = (0.35 + 0.3 * chance).astype(np.float32)  # timid
    quality = (rng.random((n, 2)) < chance).astype(np.float32)
    fixed = fit_correction(predicted, quality).quality(predicted)
    assert np.abs(fixed - chance).mean() < np.abs(predicted - chance).mean() / 2
    order = np.argsort(predicted[:, 0])
    assert (np.diff(fixed[order, 0]) >= 0).all()


def test_models_with_few_outcomes_keep_their_predictions():
    predicted = np.linspace(0, 1, 25, dtype=np.float32)[:, None]
    fixed = fit_correction(predicted, np.zeros((25, 1), np.float32)).quality(predicted)
    assert fixed == pytest.approx(predicted, abs=1e-6)


def test_misleading_predictions_become_flat_not_reversed():
    rng = np.random.default_rng(0)
    chance = rng.random((300, 1))
    quality = (rng.random((300, 1)) < chance).astype(np.float32)
    fixed = fit_correction((1 - chance).astype(np.float32), quality).quality(
        (1 - chance).astype(np.float32)
    )
    assert np.ptp(fixed) < 0.05
    assert fixed.mean() == pytest.approx(quality.mean(), abs=0.05)


def test_equal_predictions_are_no_trouble():
    predicted = np.full((2000, 1), 0.7, np.float32)
    quality = (np.random.default_rng(0).random((2000, 1)) < 0.4).astype(np.float32)
    fixed = fit_correction(predicted, quality).quality(predicted)
    assert fixed == pytest.approx(quality.mean(), abs=0.02)


def test_thresholds_give_the_asked_share_on_other_requests():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.5, 0.9):
        threshold = threshold_for(rng.beta(2, 3, 5000), share)
        assert (rng.beta(2, 3, 5000) >= threshold).mean() == pytest.approx(share, abs=0.02)
