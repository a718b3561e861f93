import numpy as np
import pytest

from routers.embedders.base import make_embedder
from routers.errors import RoutingConfigError
from routers.features.blocks.difficulty import DifficultyBlock, DifficultyNetwork
from routers.features.featurizer import Featurizer
from routers.training.recipe import Recipe
from routers.types import Conversation

BLOCKS = ("embedding", "lexical", "difficulty")
EASY = [
    "What is the capital of France?",
    "Which planet do we live on?",
    "What color is the sky on a clear day?",
]
HARD = [
    "Prove that a finite p-group acting on a vector space over F_p has non-zero invariants.",
    "How does the corridor approach change other comprehensive income under IAS 19?",
    "Find the zeta function's numerator of the curve y^2 = x^7 - x + 3 over 243 elements.",
]


@pytest.fixture(scope="module")
def featurizer() -> Featurizer:
    return Featurizer(make_embedder("static", {}), BLOCKS)


def test_the_columns_come_from_the_embedding_and_the_lexical_signals(featurizer):
    x = featurizer.transform([Conversation.of(text) for text in EASY + HARD])
    where = featurizer.columns()
    assert x.shape == (6, featurizer.dimensions)
    expected = DifficultyNetwork.load()(x[:, : where["difficulty"].start])
    np.testing.assert_array_equal(x[:, where["difficulty"]], expected)
    assert np.isfinite(x).all()


def test_the_leading_direction_tells_easy_from_hard_questions(featurizer):
    x = featurizer.transform([Conversation.of(text) for text in EASY + HARD])
    leading = x[:, featurizer.columns()["difficulty"].start]
    easy, hard = leading[:3], leading[3:]
    assert easy.max() < hard.min() or hard.max() < easy.min()


def test_another_embedder_is_refused():
    with pytest.raises(RoutingConfigError, match="'difficulty' needs the embedder 'static'"):
        DifficultyBlock(make_embedder("hashing"))


@pytest.mark.parametrize("blocks", [("difficulty",), ("difficulty", "embedding", "lexical")])
def test_the_blocks_it_reads_must_stand_before_it(blocks):
    with pytest.raises(RoutingConfigError, match="needs these before it: embedding, lexical"):
        Featurizer(make_embedder("static", {}), blocks)


def test_a_recipe_takes_the_block_where_its_embedder_allows():
    assert "difficulty" in Recipe().blocks
    assert "difficulty" not in Recipe.model_validate({"embedder": {"kind": "hashing"}}).blocks
    chosen = Recipe.model_validate({"blocks": ["lexical"]})
    assert chosen.blocks == ("lexical",)


def test_damaged_weights_are_refused():
    state = {
        "center": np.zeros(3, np.float32),
        "scale": np.ones(3, np.float32),
        "hidden": np.zeros((3, 4), np.float16),
        "hidden_bias": np.zeros(4, np.float32),
        "output": np.zeros((4, 2), np.float16),
        "output_bias": np.zeros(2, np.float32),
        "embedder_id": np.frombuffer(b"static", np.uint8),
    }
    assert DifficultyNetwork(state).dimensions == 2
    for name in ("center", "hidden_bias", "output", "output_bias"):
        with pytest.raises(ValueError, match=r"difficulty network|dimensions"):
            DifficultyNetwork({**state, name: state[name][:1]})
    with pytest.raises(KeyError):
        DifficultyNetwork({key: value for key, value in state.items() if key != "hidden"})
