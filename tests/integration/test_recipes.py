"""Every recipe that ships can be read, fitted and served from."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from routers.artifact.load import load_artifact
from routers.base import ROUTERS
from routers.heads.base import HEADS
from routers.training.fit import fit
from routers.training.recipe import read_recipe
from routers.types import Conversation
from tests.support.answers import SKILL, write_answered
from tests.support.outcomes import MODELS, write_outcomes

FOLDER = Path(__file__).parents[2] / "configs/training"
RECIPES = sorted(FOLDER.glob("*.yaml"))

every_recipe = pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("outcomes")
    return write_outcomes(folder / "wide.parquet", n=90, with_answers=True)


@every_recipe
def test_a_recipe_says_what_it_is_and_fits(path, outcomes, tmp_path):
    assert path.read_text().startswith("# ")
    recipe = read_recipe(path)
    if recipe.embedder.kind == "sentence-transformers" and not find_spec("sentence_transformers"):
        pytest.skip("needs the sentence-transformers extra")
    data, answers, n_models = outcomes, (), len(MODELS)
    if recipe.workflow is not None or (recipe.strategy, "n_tiers") == ("bert", *recipe.options):
        # Of more than two models: tiers take three, as do some workflows.
        data, file = write_answered(tmp_path, n=150)
        answers, n_models = (file,) if recipe.workflow else (), len(SKILL)
    report = fit(
        [data],
        tmp_path / "artifact",
        # Of so few rows routing is not worth it, and a recipe that may would say so.
        recipe=recipe.model_copy(update={"calibration_folds": 2, "abstain": False}),
        created_at="",
        steelyard_version="",
        answers=answers,
    )
    artifact = load_artifact(report.path)
    assert artifact.manifest["strategy"]["kind"] == recipe.strategy
    assert (artifact.workflow is None) == (recipe.workflow is None)
    predictions = artifact.predict_conversations([Conversation.of("Write a poem about rain.")])
    assert len(artifact.models) == n_models
    assert predictions.quality.shape == (1, n_models)
    assert np.isfinite(predictions.quality).all()
    if recipe.workflow is not None:
        assert artifact.workflow.kind == recipe.workflow["kind"]


def test_there_is_a_recipe_for_every_head_and_every_strategy_that_looks_at_the_query():
    recipes = [read_recipe(path) for path in RECIPES]
    constant = {"cheapest", "strongest", "best-single", "random"}
    assert {recipe.strategy for recipe in recipes} >= set(ROUTERS.kinds()) - constant
    heads: set[str] = set()
    for recipe in recipes:
        if recipe.strategy == "carrot":
            head = recipe.options["quality_head"]
            parts = [head.get("options", {}).get(part) for part in ("few", "many")]
            heads |= {each["kind"] for each in (head, *filter(None, parts))}
    assert heads >= set(HEADS.kinds())
