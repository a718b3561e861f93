import numpy as np
import pytest

from routers.embedders.base import make_embedder
from routers.errors import RoutingConfigError
from routers.features.blocks.outlook import COLUMNS, OutlookBlock, OutlookLine
from routers.features.featurizer import Featurizer
from routers.training.recipe import Recipe
from routers.types import Conversation

BLOCKS = ("embedding", "lexical", "outlook")
SHORT = [
    "What is the capital of Portugal?",
    "Is 17 a prime number? Answer yes or no.",
    "Translate 'good morning' into French.",
]
LONG = [
    "Write a detailed essay on the causes of the French Revolution.",
    "Design a fault-tolerant job queue in Go and implement it with tests.",
    "Draft a business plan for a bakery: market, staff, costs, first two years.",
]
DEMANDING = [
    "Prove that the sum of two independent Poisson variables is Poisson.",
    "Find the race condition in this lock-free queue and prove your fix correct.",
    LONG[1],
]


@pytest.fixture(scope="module")
def featurizer() -> Featurizer:
    return Featurizer(make_embedder("static", {}), BLOCKS)


def test_it_tells_long_answers_from_short_ones(featurizer):
    length = _outlook(featurizer, SHORT + LONG)[:, COLUMNS.index("length")]
    assert length[:3].max() < length[3:].min()


def test_it_tells_demanding_requests_from_trivial_ones(featurizer):
    demand = _outlook(featurizer, SHORT + DEMANDING)[:, COLUMNS.index("demand")]
    assert demand[:3].max() < demand[3:].min()


def _outlook(featurizer, texts):
    x = featurizer.transform([Conversation.of(text) for text in texts])
    return x[:, featurizer.columns()["outlook"]]


def test_a_pasted_text_does_not_make_the_answer_long(featurizer):
    # What a reader knows and the number of characters does not.
    pasted = "The quarterly meeting was held on Tuesday in the large hall, as usual. " * 20
    asked = [f"{pasted}\n\nOn which day was the meeting? One word.", LONG[0]]
    length = _outlook(featurizer, asked)[:, COLUMNS.index("length")]
    assert length[0] < length[1]


def test_the_columns_come_from_the_embedding_and_the_lexical_signals(featurizer):
    x = featurizer.transform([Conversation.of(text) for text in LONG])
    where = featurizer.columns()["outlook"]
    np.testing.assert_array_equal(x[:, where], OutlookLine.load()(x[:, : where.start]))


def test_another_embedder_is_refused():
    with pytest.raises(RoutingConfigError, match="'outlook' needs the embedder 'static'"):
        OutlookBlock(make_embedder("hashing"))


def test_a_recipe_takes_the_block_where_its_embedder_allows():
    assert "outlook" in Recipe().blocks
    assert "outlook" not in Recipe.model_validate({"embedder": {"kind": "hashing"}}).blocks


def test_damaged_weights_are_refused():
    state = {
        "weights": np.zeros((5, 2), np.float32),
        "bias": np.zeros(2, np.float32),
        "embedder_id": np.frombuffer(b"static", np.uint8),
    }
    assert OutlookLine(state)(np.ones((3, 5), np.float32)).shape == (3, 2)
    for name, damaged in (("weights", state["weights"][:, :1]), ("bias", state["bias"][:1])):
        with pytest.raises(ValueError, match="2 columns"):
            OutlookLine({**state, name: damaged})
    with pytest.raises(KeyError):
        OutlookLine({"weights": state["weights"], "bias": state["bias"]})
