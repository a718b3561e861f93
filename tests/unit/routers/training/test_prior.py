"""A router from published results, without the command line."""

import numpy as np
import pytest

from routers.artifact.load import load_artifact
from routers.errors import DataError
from routers.features.featurizer import Featurizer
from routers.training.prior import REASONING_VERBOSITY, build_prior
from routers.types import Conversation
from tests.support.gateway import CONFIGS, write_yaml

SOURCE = {"source": "a leaderboard", "date": "2026-01-01"}


def model(score, **changes):
    scores = [] if score is None else [{"benchmark": "know", "score": score, **SOURCE}]
    return {"developer": "somebody", "open_weights": False, "scores": scores, **changes}


BOARD = {
    "small": model(50),
    "large": model(80, aliases=["large-latest"]),
    "thinker": model(85, reasoning=True),
    "talker": model(70, verbosity=2.0, reasoning=True),
    "unheard-of": model(None),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    lines = (CONFIGS / "graded_prompts" / "test.jsonl").read_text(encoding="utf-8").splitlines()

    def build(models=BOARD, prices=None, *, prompts=lines[::40]):
        folder = tmp_path_factory.mktemp("prior")
        about = {"facet": "knowledge", "guess": 0.25, "level": 3.5, "about": "questions"}
        document = {"benchmarks": {"know": about}, "models": models}
        write_yaml(folder / "abilities.yaml", document)
        (folder / "prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
        catalogue = None
        if prices is not None:
            catalogue = folder / "models.yaml"
            write_yaml(catalogue, {"models": prices})
        return build_prior(
            folder / "abilities.yaml",
            folder / "router",
            catalogue=catalogue,
            prompts=[folder / "prompts.jsonl"],
            created_at="2026-01-01T00:00:00+00:00",
            steelyard_version="0",
        )

    return build


@pytest.fixture(scope="module")
def made(build):
    prices = {
        "small": {"prices": {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4}},
        "large-latest": {"prices": {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15}},
        "somebody-else": {"prices": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}},
    }
    return build(prices=prices)


def test_the_report_names_models_and_what_is_not_known_of_them(made):
    assert set(made.models) == {*BOARD, "large-latest"}
    assert made.without_scores == ("unheard-of",)
    # A model takes the price of its name in the catalogue.
    assert set(made.unpriced) == {"thinker", "talker", "unheard-of"}
    assert made.version == load_artifact(made.path).version


def test_without_a_catalogue_no_price_is_known(build):
    report = build()
    assert set(report.unpriced) == set(report.models) == set(BOARD)


def test_a_model_that_thinks_writes_more(made):
    artifact = load_artifact(made.path)
    found = artifact.predict_conversations([Conversation.of("Write a haiku about autumn")])
    tokens = dict(zip(artifact.models, found.output_tokens[0].tolist(), strict=True))
    # `expected` is exp(log(1 + tokens)) - 1 of the median: the ratio is that of 1 + tokens.
    ratio = (1 + tokens["thinker"]) / (1 + tokens["large"])
    assert ratio == pytest.approx(REASONING_VERBOSITY, rel=0.01)
    # What is known of a model counts before what is usual.
    assert (1 + tokens["talker"]) / (1 + tokens["large"]) == pytest.approx(2, rel=0.01)


def test_the_knob_is_spread_over_prompts_whose_outcomes_nobody_knows(made):
    rows = load_artifact(made.path).calibration
    assert np.isnan(rows.quality_realised).all()
    assert len(rows) > 10


def test_the_artifact_reads_requests_alone(made):
    featurizer = load_artifact(made.path).featurizer
    assert isinstance(featurizer, Featurizer)
    assert tuple(featurizer.columns()) == ("request",)


def test_without_prompts_there_is_no_knob(build):
    with pytest.raises(DataError, match="give --prompts"):
        build(prompts=[])


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "'small' has no 'prices'"),
        ({"prices": {"output_usd_per_mtok": "dear"}}, "'small': output_usd_per_mtok is no number"),
        ({"prices": {"output_usd_per_mtok": True}}, "'small': output_usd_per_mtok is no number"),
        ({"prices": {"input_usd_per_mtok": -1}}, "'small': input_usd_per_mtok is no price"),
        ({"prices": {"input_usd_per_mtok": float("inf")}}, "'small': input_usd_per_mtok is no pri"),
    ],
)
def test_a_price_that_is_none_is_named(build, entry, reason):
    with pytest.raises(DataError, match=reason) as caught:
        build(prices={"small": entry})
    assert "models.yaml: " in str(caught.value)
