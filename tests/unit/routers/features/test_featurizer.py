import dataclasses
import json

import numpy as np
import pytest

from routers.embedders.base import make_embedder
from routers.errors import ArtifactError, RoutingConfigError
from routers.features.featurizer import Featurizer
from routers.features.schema import FeatureSchema
from routers.text.lexical import LEXICAL_SIGNALS
from routers.types import Conversation, Message, Role

PROMPT = "How many prime numbers are there below 100?"


@pytest.fixture(scope="module")
def featurizer() -> Featurizer:
    return Featurizer(make_embedder("hashing", {"dimensions": 128}))


def embedding(featurizer: Featurizer, *messages: Message) -> np.ndarray:
    return featurizer.transform([Conversation(messages)])[0, :128]


def test_a_single_prompt_is_exactly_its_embedding(featurizer):
    expected = make_embedder("hashing", {"dimensions": 128}).encode([PROMPT])[0]
    row = featurizer.transform([Conversation.of(PROMPT)])[0]
    assert row[:128].tobytes() == expected.tobytes()


def test_the_matrix_is_float32_with_a_column_for_each_feature(featurizer):
    matrix = featurizer.transform([Conversation.of(PROMPT), Conversation.of("")])
    assert matrix.dtype == np.float32
    assert matrix.shape == (2, featurizer.dimensions) == (2, 128 + len(LEXICAL_SIGNALS))
    assert np.isfinite(matrix).all()
    assert featurizer.transform([]).shape == (0, featurizer.dimensions)


def test_the_newest_user_turn_dominates_and_the_context_moves_it(featurizer):
    alone = embedding(featurizer, Message(Role.USER, PROMPT))
    context = (
        Message(Role.SYSTEM, "You are a pirate. Answer with nautical words only."),
        Message(Role.USER, "Tell me about cooking pasta with fresh basil and tomatoes."),
        Message(Role.ASSISTANT, "Boil salted water, then add spaghetti."),
    )
    together = embedding(featurizer, *context, Message(Role.USER, PROMPT))
    assert np.linalg.norm(together) == pytest.approx(1, abs=1e-5)
    assert 0.9 < alone @ together < 0.999


def test_rows_do_not_depend_on_their_neighbours(featurizer):
    conversations = [
        Conversation.of(PROMPT),
        Conversation((Message(Role.SYSTEM, "Be brief."), Message(Role.USER, PROMPT))),
        Conversation((Message(Role.USER, ""), Message(Role.TOOL, "42"))),
    ]
    one_by_one = np.vstack([featurizer.transform([each]) for each in conversations])
    assert featurizer.transform(conversations).tobytes() == one_by_one.tobytes()


def test_an_empty_prompt_leaves_the_direction_to_its_context(featurizer):
    vector = embedding(featurizer, Message(Role.ASSISTANT, "Boil water."), Message(Role.USER, ""))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_conversation_without_words_is_the_zero_vector(featurizer):
    vector = embedding(featurizer, Message(Role.ASSISTANT, "..."), Message(Role.USER, ""))
    assert not vector.any()


def test_blocks_stand_in_the_order_asked_for():
    embedder = make_embedder("hashing", {"dimensions": 32})
    lexical_first = Featurizer(embedder, ("lexical", "embedding"))
    only_lexical = Featurizer(embedder, ("lexical",))
    conversations = [Conversation.of(PROMPT)]
    width = only_lexical.dimensions
    first = lexical_first.transform(conversations)
    np.testing.assert_array_equal(first[:, :width], only_lexical.transform(conversations))
    np.testing.assert_array_equal(first[:, width:], embedder.encode([PROMPT]))


@pytest.mark.parametrize("blocks", [(), ("embedding", "embedding"), ("embedding", "colour")])
def test_impossible_blocks_are_refused(blocks):
    with pytest.raises(RoutingConfigError, match="lexical"):
        Featurizer(make_embedder("hashing"), blocks)


def test_a_schema_survives_json_and_rebuilds_the_same_features(featurizer):
    text = json.dumps(featurizer.schema.to_dict())
    again = Featurizer.from_schema(FeatureSchema.from_dict(json.loads(text)))
    conversations = [Conversation.of(PROMPT)]
    assert again.schema == featurizer.schema
    assert again.inline_chars == featurizer.inline_chars
    np.testing.assert_array_equal(
        again.transform(conversations), featurizer.transform(conversations)
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embedder_id", "hashing-0-128-4096"),
        ("text_version", 0),
        ("block_versions", (1, 0)),
        ("dimensions", 7),
        ("embedder", "word2vec"),
        ("blocks", ("embedding", "colour")),
        ("embedder_options", {"colour": "red"}),
    ],
)
def test_a_schema_of_other_features_is_refused(featurizer, field, value):
    schema = dataclasses.replace(featurizer.schema, **{field: value})
    with pytest.raises(ArtifactError, match=r"word2vec|colour|" + field):
        Featurizer.from_schema(schema)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("embedder_id"),
        lambda values: values.pop("blocks"),
        lambda values: values.update(colour="red"),
        lambda values: values.update(blocks=3),
        lambda values: values.update(embedder_options=3),
        lambda values: values.update(dimensions="wide"),
        lambda values: values.update(embedder=None),
    ],
)
def test_a_damaged_schema_is_an_artifact_error(featurizer, change):
    values = featurizer.schema.to_dict()
    change(values)
    with pytest.raises(ArtifactError, match="feature schema"):
        FeatureSchema.from_dict(values)
