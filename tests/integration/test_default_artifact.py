"""The artifact in the package: loads as it is, is small, and knows models old and new."""

from pathlib import Path

import numpy as np

import routers
from routers.artifact_load import load_artifact
from routers.types import Conversation, ModelSpec

FOLDER = Path(routers.__file__).parent / "pretrained" / "default"


def test_the_default_artifact_is_small_and_sound():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 4_000_000
    artifact = load_artifact(FOLDER)
    assert len(artifact.models) >= 40
    assert artifact.manifest["features"]["embedder"] == "static"
    assert artifact.manifest["training"]["evidence"] == "prior"
    knob = artifact.manifest["knob"]
    assert [t for t, _ in knob] == sorted({t for t, _ in knob})


def test_it_trusts_large_models_more_on_code_and_prices_long_answers():
    artifact = load_artifact(FOLDER)
    code = "Write a Python function to find the longest common subsequence of two strings."
    choice = (
        "Which of these is a renewable source of energy?\nA) coal\nB) wind\nC) oil\nD) gas\n"
        "Print only a single choice from A, B, C or D."
    )
    both = artifact.predict_conversations([Conversation.of(code), Conversation.of(choice)])
    large = artifact.column("gpt-4-1106-preview")
    small = artifact.column("mistralai/mistral-7b-chat")
    assert (both.quality[:, large] > both.quality[:, small]).all()
    assert both.output_tokens[0, large] > 3 * both.output_tokens[1, large]


def test_its_knob_can_be_set_up_for_any_subset_at_any_price():
    artifact = load_artifact(FOLDER)
    names = [artifact.models[0], artifact.models[4]]
    knob = artifact.knob_curve(
        [
            ModelSpec(
                model_id=name,
                predicted_as=name,
                prices=artifact.prices[name],
                context_window_tokens=8000,
            )
            for name in names
        ]
    )
    rates = [knob.usd_per_quality_for(t) for t in np.linspace(0, 1, 11)]
    assert rates == sorted(rates)
