import types

import numpy as np
import pytest

from app.console.curves import POSITIONS, policy_curve
from routers.artifact.calibration import CalibrationRows
from routers.models import ModelSpec, Prices
from routers.objectives import CostQuality, StrongThreshold
from routers.types import Predictions

PRICED = {"small": 1.0, "large": 20.0}
N = 1500
HALF = CostQuality(0.5)


def spec(model_id, usd_per_mtok):
    return ModelSpec(
        model_id=model_id,
        predicted_as=model_id,
        prices=Prices(input_usd_per_mtok=usd_per_mtok, output_usd_per_mtok=usd_per_mtok),
        context_window_tokens=10_000,
    )


def rows(*, n=N, blind=False, unknown=0.0):
    """Half of the prompts only the large model gets right, and the router knows which."""
    rng = np.random.default_rng(0)
    hard = rng.random(n) < 0.5
    chance = np.stack([np.where(hard, 0.2, 0.9), np.full(n, 0.9)], axis=1)
    realised = (rng.random((n, 2)) < chance).astype(np.float32)
    realised[rng.random((n, 2)) < unknown] = np.nan
    predicted = np.tile(chance.mean(axis=0), (n, 1)) if blind else chance
    flat = np.full((n, 2), 100, np.float32)
    return CalibrationRows.collect(
        Predictions(
            quality=predicted.astype(np.float32),
            quality_std=flat,
            output_tokens=flat,
            output_tokens_upper=flat,
        ),
        input_tokens=np.full(n, 50),
        quality=realised,
        rng=rng,
    )


def policy(calibration, *, candidates=None, objective=HALF):
    if candidates is None:
        candidates = tuple(spec(*each) for each in PRICED.items())
    artifact = types.SimpleNamespace(
        version="abc", manifest={"strategy": {"kind": "carrot"}}, calibration=calibration
    )
    return types.SimpleNamespace(
        name="default",
        version="v1",
        artifact=artifact,
        candidates=candidates,
        columns=tuple(range(len(candidates))),
        objective=objective,
    )


def test_a_router_that_knows_beats_every_mixture():
    found = policy_curve(policy(rows()))
    mix = np.asarray(found["mix"])
    curve = np.asarray(found["curve"])
    middle = curve[:, 0].mean()
    routed = np.interp(middle, curve[:, 0], curve[:, 1])
    assert routed > np.interp(middle, mix[:, 0], mix[:, 1]) + 0.05


def test_singles_are_what_always_one_model_gives_at_todays_prices():
    found = policy_curve(policy(rows()))
    small, large = found["singles"]
    assert small["usd_per_1000"] == pytest.approx(1000 * 150 * 1.0 / 1e6, rel=0.01)
    assert large["usd_per_1000"] == pytest.approx(1000 * 150 * 20.0 / 1e6, rel=0.01)
    assert small["quality"] == pytest.approx(0.55, abs=0.04)
    assert (small["roles"], large["roles"]) == (["cheapest"], ["dearest", "best"])


def test_the_knob_is_held_against_prompts_it_was_not_fitted_on():
    found = policy_curve(policy(rows()))
    assert [each["cost_quality"] for each in found["knob"]] == list(POSITIONS)
    shares = [each["share"]["value"] for each in found["knob"]]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    for each in found["knob"]:
        assert each["share"]["low"] <= each["share"]["value"] <= each["share"]["high"]
    costs = [each["usd_per_1000"] for each in found["knob"]]
    assert costs == sorted(costs)


def test_predictions_without_outcomes_verify_nothing():
    found = policy_curve(policy(rows(unknown=1.0)))
    assert not found["verified"]
    assert {each["share"] for each in found["knob"]} == {None}
    assert (found["calibration_error"], found["knob_error"], found["reliability"]) == (
        None,
        None,
        [],
    )
    assert len(found["singles"]) == 2
    assert policy_curve(policy(rows()))["verified"]


def test_the_same_rows_give_the_same_answer():
    assert policy_curve(policy(rows())) == policy_curve(policy(rows()))


def test_without_a_gap_there_is_no_share_of_it():
    found = policy_curve(policy(rows(), candidates=(spec("small", 1.0), spec("other", 2.0))))
    same = policy(rows(), candidates=(spec("large", 1.0), spec("twin", 2.0)))
    same.columns = (1, 1)
    assert found["knob_error"] is not None
    found = policy_curve(same)
    assert {each["share"] for each in found["knob"]} == {None}
    assert found["knob_error"] is None


def test_untried_models_count_as_predicted_and_are_told():
    found = policy_curve(policy(rows(unknown=0.4)))
    assert found["share_tried"] == pytest.approx(0.6, abs=0.03)
    assert sum(each["n"] for each in found["reliability"]) == pytest.approx(0.6 * 2 * N, rel=0.05)
    assert found["calibration_error"] < 0.05


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (policy(rows(n=20)), "too few calibration rows"),
        (policy(rows(), candidates=(spec("small", 1.0), spec("large", None))), "known price"),
        (policy(rows(), candidates=(spec("small", 1.0),)), "known price"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(made, words):
    found = policy_curve(made)
    assert words in found["problem"]
    assert (found["curve"], found["knob"], found["singles"]) == ([], [], [])


def test_a_policy_by_threshold_has_no_place_on_the_knob():
    objective = StrongThreshold(strong="large", weak="small", threshold=0.3)
    assert policy_curve(policy(rows(), objective=objective))["cost_quality"] is None
