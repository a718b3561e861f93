"""The artifact in the package: loads as it is, is small, and knows easy from hard."""

from pathlib import Path

import numpy as np
import pytest

import routers
from routers.artifact.evidence import Evidence
from routers.artifact.load import load_artifact
from routers.models import ModelSpec
from routers.request.sentence import level_of
from routers.types import Conversation
from tests.support.gateway import CONFIGS, read_yaml

FOLDER = Path(routers.__file__).parent / "pretrained" / "default"
CHEAP, BEST = "llama-3.1-8b-instruct", "claude-opus-5-5"
TRIVIAL = (
    "hi",
    "What is the capital of France?",
    "Please repeat this text word by word: " + "The cat sat on the mat. " * 40,
    "Wie spät ist es, wenn der große Zeiger auf der Zwölf steht?",
)
DEMANDING = (
    "Prove that sqrt(2) is irrational.",
    "Write a Rust async web server with graceful shutdown and tests.",
    "Implement a lock-free queue for several producers and consumers in C++.",
    "Beweise, dass es unendlich viele Primzahlen gibt.",
)


@pytest.fixture(scope="module")
def artifact():
    return load_artifact(FOLDER)


def quality(artifact, prompts):
    found = artifact.predict_conversations([Conversation.of(prompt) for prompt in prompts])
    return found.quality[:, [artifact.column(CHEAP), artifact.column(BEST)]]


def test_the_default_artifact_is_small_and_knows_many_models_by_published_results(artifact):
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 4_000_000
    assert len(artifact.models) >= 150
    assert artifact.manifest["features"]["embedder"] == "static"
    assert {artifact.evidence(model) for model in artifact.models} == {Evidence.PRIOR}
    assert np.isnan(artifact.calibration.quality_realised).all()


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("gateway*.yaml")), ids=lambda file: file.name)
def test_it_knows_every_model_of_the_shipped_configurations_itself(artifact, file):
    models = read_yaml(file)["models"]
    catalogue = read_yaml(CONFIGS / "models.yaml")["models"]
    specs = {model.get("spec", name) for name, model in models.items()}
    chatting = {spec for spec in specs if catalogue[spec].get("kind", "chat") == "chat"}
    assert chatting
    assert chatting <= set(artifact.models)
    assert not any("predicted_as" in model for model in models.values())


def test_it_tells_demanding_prompts_from_trivial_ones_whatever_their_length(artifact):
    trivial, demanding = quality(artifact, TRIVIAL), quality(artifact, DEMANDING)
    gaps = [pair[:, 1] - pair[:, 0] for pair in (trivial, demanding)]
    assert gaps[0].max() + 0.15 < gaps[1].min()
    assert trivial.min() > 0.85
    levels = [level_of(artifact.describe(Conversation.of(prompt))) for prompt in DEMANDING]
    assert not set(levels) & {"trivial", "easy"}


def test_it_expects_long_answers_where_much_is_asked(artifact):
    both = artifact.predict_conversations(
        [Conversation.of(TRIVIAL[1]), Conversation.of(DEMANDING[1])]
    )
    column = artifact.column(BEST)
    assert both.output_tokens[1, column] > 5 * both.output_tokens[0, column]


def test_its_knob_can_be_set_up_for_any_subset_at_any_price(artifact):
    names = [CHEAP, BEST]
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
