import numpy as np
import pytest

from routers.base import Comparisons, Labels
from routers.decision.decide import decide
from routers.decision.knob import KnobCurve
from routers.decision.pairwise import (
    logit,
    strong_scores,
    win_rates,
)
from routers.decisions import Reason
from routers.models import Demand, ModelSpec, Prices
from routers.numeric import sigmoid
from routers.objectives import Constraints, StrongThreshold
from routers.types import Predictions

STRENGTH = np.asarray([[0.0, 1.0, -0.5], [0.3, 0.3, 2.0]], np.float32)


def predictions(strength=STRENGTH):
    quality = np.asarray([[0.2, 0.6, 0.9], [0.5, 0.5, 0.5]], np.float32)
    return Predictions(
        quality=quality,
        quality_std=quality,
        output_tokens=quality,
        output_tokens_upper=quality,
        strength=strength,
    )


def test_log_odds_undo_the_logistic_function_and_stay_finite():
    np.testing.assert_allclose(logit(sigmoid(np.linspace(-20, 20, 9))), np.linspace(-20, 20, 9))
    assert logit(np.asarray([0.0, 1.0])).tolist() == [-40, 40]
    assert sigmoid(np.asarray([-40.0, 40.0])).tolist() == [0, 1]


def test_win_rates_average_the_chances_against_the_others():
    rates = win_rates(STRENGTH)
    for row in range(2):
        for model in range(3):
            others = [o for o in range(3) if o != model]
            chances = [float(sigmoid(STRENGTH[row, model] - STRENGTH[row, o])) for o in others]
            assert rates[row, model] == pytest.approx(np.mean(chances), abs=1e-6)
    assert win_rates(np.ones((2, 1))).tolist() == [[0.5], [0.5]]


def test_the_score_is_the_chance_to_win_where_strengths_are_told():
    scores = strong_scores(predictions(), strong=1, weak=0)
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-1)), 0.5])


def test_the_score_is_right_against_wrong_where_they_are_not():
    scores = strong_scores(predictions(None), strong=2, weak=0)
    np.testing.assert_allclose(scores, [0.9 * 0.8, 0.25], rtol=1e-6)


def test_rows_and_columns_keep_strengths():
    picked = predictions().rows(np.asarray([1])).columns([2, 0])
    np.testing.assert_array_equal(picked.strength, STRENGTH[1:, [2, 0]])
    assert predictions(None).rows(np.asarray([0])).columns([1]).strength is None


@pytest.mark.parametrize(
    ("threshold", "served"), [(0.73, "b"), (0.732, "a")], ids=["below", "above"]
)
def test_a_threshold_is_held_against_the_chance_to_win(threshold, served):
    # sigmoid(1 - 0) = 0.7311; by quality the score would be 0.48 and the answer always "a".
    prices = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)
    decision = decide(
        candidates=[
            ModelSpec(model_id=name, predicted_as=name, prices=prices, context_window_tokens=8000)
            for name in "abc"
        ],
        predictions=predictions().rows(np.asarray([0])),
        demand=Demand(input_tokens=10, input_tokens_upper=10),
        constraints=Constraints(),
        objective=StrongThreshold(strong="b", weak="a", threshold=threshold),
        knob=KnobCurve((0.0, 1.0), (1e-4, 1.0)),
    )
    assert decision.model_id == served
    assert decision.reason is Reason.THRESHOLD


def test_comparisons_follow_their_queries():
    comparisons = Comparisons(
        row=np.asarray([2, 0, 2, 1]),
        a=np.asarray([0, 1, 2, 0]),
        b=np.asarray([1, 2, 0, 2]),
        outcome=np.asarray([1, 0, 0.5, 1], np.float32),
    )
    labels = Labels(
        models=("x", "y", "z"),
        quality=np.zeros((3, 3), np.float32),
        comparisons=comparisons,
        samples=np.arange(18, dtype=np.float32).reshape(3, 3, 2),
    ).rows([2, 0])
    assert labels.comparisons.row.tolist() == [0, 0, 1]
    assert labels.comparisons.a.tolist() == [0, 2, 1]
    assert labels.comparisons.outcome.tolist() == [1, 0.5, 0]
    assert labels.samples[:, 0, 0].tolist() == [12, 0]
    again = Labels(models=("x",), quality=np.zeros((3, 1), np.float32), comparisons=comparisons)
    assert again.rows(np.asarray([1, 1])).comparisons.row.tolist() == [0, 1]
