import numpy as np
import pytest

from routers.errors import DataError
from routers.training.thresholds import (
    share_has_drifted,
    threshold_for_drop,
    threshold_for_share,
)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_holds_on_fresh_traffic_of_the_same_kind(share):
    rng = np.random.default_rng(1)
    seen, fresh = rng.beta(2, 5, 5000), rng.beta(2, 5, 5000)
    fit = threshold_for_share(seen, share)
    assert fit.strong_share == pytest.approx(share, abs=1e-3)
    realised = (fresh >= fit.threshold).mean()
    assert realised == pytest.approx(share, abs=0.02)
    # The threshold was itself drawn from as many scores, so twice the variance is at play.
    assert not share_has_drifted(realised, share, 2500)


def test_the_alarm_is_raised_on_shifted_traffic():
    rng = np.random.default_rng(1)
    fit = threshold_for_share(rng.beta(2, 5, 5000), 0.3)
    realised = (rng.beta(3, 5, 1000) >= fit.threshold).mean()
    assert share_has_drifted(realised, 0.3, 1000)


def test_the_alarm_waits_for_three_standard_errors():
    # Standard error 0.05 at a target of one half and a hundred queries.
    assert not share_has_drifted(0.64, 0.5, 100)
    assert share_has_drifted(0.66, 0.5, 100)


def test_false_alarms_are_rare():
    rng = np.random.default_rng(1)
    shares = rng.binomial(400, 0.3, 20_000) / 400
    alarms = np.mean([share_has_drifted(share, 0.3, 400) for share in shares])
    assert alarms < 0.006


def test_the_ends_are_exact():
    rng = np.random.default_rng(1)
    scores = rng.random(100)
    assert (scores >= threshold_for_share(scores, 1).threshold).all()
    assert not (scores >= threshold_for_share(scores, 0).threshold).any()


def test_equal_scores_cannot_be_separated_and_the_realised_share_says_so():
    assert threshold_for_share(np.full(10, 0.5), 0.3).strong_share == 1


def test_the_fewest_strong_calls_within_the_drop_are_found():
    scores = np.asarray([0.1, 0.2, 0.3, 0.4])
    strong, weak = np.asarray([1, 1, 1, 1.0]), np.asarray([1, 0, 1, 0.0])
    fit = threshold_for_drop(scores, strong, weak, max_drop=0.25)
    assert (fit.threshold, fit.strong_share, fit.quality_drop) == (0.4, 0.25, 0.25)
    everything = threshold_for_drop(scores, strong, weak, max_drop=0.5)
    assert everything.strong_share == 0
    assert everything.threshold > 0.4
    assert threshold_for_drop(scores, strong, weak, max_drop=0.1).threshold == 0.2


def test_a_drop_that_is_made_up_for_later_is_allowed():
    scores = np.asarray([0.1, 0.2, 0.3])
    fit = threshold_for_drop(scores, np.asarray([1, 0, 0.0]), np.asarray([0, 1, 0.0]), max_drop=0)
    assert fit.strong_share == 0


def test_equal_scores_go_together():
    scores = np.asarray([0.1, 0.1, 0.5])
    fit = threshold_for_drop(scores, np.ones(3), np.asarray([1, 0, 0.0]), max_drop=0.1)
    assert fit.strong_share == 1


@pytest.mark.parametrize("scores", [[], [np.nan], [[0.1]]])
def test_scores_have_to_be_numbers(scores):
    with pytest.raises(DataError, match="one finite score"):
        threshold_for_share(np.asarray(scores), 0.5)


def test_impossible_wishes_are_refused():
    with pytest.raises(DataError, match="between 0 and 1"):
        threshold_for_share(np.ones(3), 1.5)
    with pytest.raises(DataError, match="qualities of both"):
        threshold_for_drop(np.ones(3), np.ones(3), np.asarray([1, np.nan, 0]), max_drop=0.1)
