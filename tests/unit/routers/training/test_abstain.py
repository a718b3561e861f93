"""A router has to be worth more than mixing models or the prompt's length to be served."""

import numpy as np
import pytest

from routers.data.dataset import OutcomeTable
from routers.embedders.base import make_embedder
from routers.features.featurizer import Featurizer
from routers.models import Prices
from routers.training.abstain import restrain
from routers.training.fold_features import FoldFeatures
from routers.training.recipe import Recipe
from routers.types import Conversation, Predictions

N, FOLDS = 600, np.arange(600) % 3
PRICES = {
    "small": Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=1.0),
    "large": Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=20.0),
}


def restrained(predicted, chance, *, recipe=Recipe(), quality=None, words=None):  # noqa: B008
    """Restrain a router that predicts `predicted` where outcomes follow `chance`."""
    rng = np.random.default_rng(1)
    words = rng.integers(1, 40, N) if words is None else words
    asked = tuple(Conversation.of(f"{i} " + "word " * int(words[i])) for i in range(N))
    outcomes = (rng.random((N, 2)) < chance).astype(np.float32) if quality is None else quality
    table = OutcomeTable(
        query_ids=tuple(map(str, range(N))),
        conversations=asked,
        models=tuple(PRICES),
        input_tokens=np.ones(N),
        quality=outcomes,
        output_tokens=np.full((N, 2), 50, np.float32),
        cost_usd=np.full((N, 2), np.nan),
        groups=("",) * N,
        files=(),
    )
    featurizer = Featurizer(make_embedder("hashing", {"dimensions": 8}), ("embedding", "lexical"))
    crossed = Predictions(
        quality=np.asarray(predicted, np.float32),
        quality_std=np.full((N, 2), 0.1, np.float32),
        output_tokens=np.full((N, 2), 50, np.float32),
        output_tokens_upper=np.full((N, 2), 60, np.float32),
    )
    features = FoldFeatures(
        featurizer=featurizer, conversations=asked, known=featurizer.precompute(asked)
    )
    found = restrain(
        recipe, table, table.labels, crossed, features=features, folds=FOLDS, prices=PRICES
    )
    return found, crossed


ALIKE = np.tile([0.3, 0.8], (N, 1))
EASY = np.random.default_rng(0).random(N) < 0.5
APART = np.where(EASY[:, None], [0.9, 0.9], [0.1, 0.9])


def test_a_router_that_knows_which_queries_are_easy_is_served_as_it_is():
    found, crossed = restrained(APART, APART)
    assert found.recipe == Recipe()
    assert found.served is crossed
    assert not found.abstaining.any()
    assert np.array_equal(found.predictions.quality, crossed.quality)
    assert found.over["random-mix"].low > 0
    assert found.over["prompt-length"].low > 0


def test_a_router_that_is_sure_of_the_wrong_queries_abstains():
    found, crossed = restrained(APART[:, ::-1] + [0.0, 0.05], APART)
    assert found.recipe.strategy == "random-mix"
    assert found.abstaining.all()
    assert found.over["random-mix"].high < 0
    # Means of the other folds, moved by what mixes them at random.
    gap = found.predictions.quality[:, 1] - found.predictions.quality[:, 0]
    assert (gap > 0).all()
    assert not np.array_equal(found.predictions.quality, crossed.quality)


def test_length_is_served_where_it_knows_more_than_the_router():
    words = np.where(EASY, 2, 30)
    noise = ALIKE + np.random.default_rng(3).normal(0, 0.2, (N, 2))
    found, _ = restrained(np.clip(noise, 0, 1), APART, words=words)
    assert found.recipe.strategy == "prompt-length"
    assert found.recipe.options == {"column": 8}
    assert found.abstaining.all()
    assert found.over["prompt-length"].high < 0


def test_what_decides_on_a_fold_are_the_others():
    predicted = APART.copy()
    wrong = FOLDS == 0
    predicted[wrong] = predicted[wrong][:, ::-1] + [0.0, 0.05]
    predicted[FOLDS == 1] = ALIKE[FOLDS == 1]
    found, _ = restrained(predicted, APART)
    # The others of fold 0 know more than nothing; those of fold 2 are wrong more than right.
    assert not found.abstaining[wrong].any()
    assert found.abstaining[FOLDS == 2].all()


@pytest.mark.parametrize(
    "recipe", [Recipe(abstain=False), Recipe(strategy="guarded-knn")], ids=["told", "other"]
)
def test_who_shall_not_abstain_does_not(recipe):
    found, crossed = restrained(APART[:, ::-1], APART, recipe=recipe)
    assert found.recipe is recipe
    assert found.predictions is crossed
    assert found.over == {}


def test_where_nothing_can_be_compared_nothing_is_decided():
    rng = np.random.default_rng(0)
    one_each = np.full((N, 2), np.nan, np.float32)
    one_each[np.arange(N), rng.integers(0, 2, N)] = 1.0
    found, crossed = restrained(APART[:, ::-1], APART, quality=one_each)
    assert found.predictions is crossed
    assert not found.abstaining.any()
