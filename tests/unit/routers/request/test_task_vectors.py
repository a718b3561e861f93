"""What a request is for is embedded once."""

import numpy as np
import pytest

from routers.embedders.hashing import HashingEmbedder
from routers.features.blocks.embedding import EmbeddingBlock
from routers.features.blocks.task import TaskBlock
from routers.request.task_vectors import TASK_COLUMNS, TaskVectors
from routers.text.conversation import conversation_text
from routers.types import Conversation, Message, Role

SYSTEM = "You answer questions about invoices."


class Counting(HashingEmbedder):
    """Notes every text that it embeds."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    def encode(self, texts):
        self.seen += texts
        return super().encode(texts)


def said(prompt, system=SYSTEM, task=""):
    return Conversation((Message(Role.SYSTEM, system), Message(Role.USER, prompt)), task=task)


def test_the_same_system_prompt_is_embedded_once():
    embedder = Counting()
    blocks = [TaskBlock(embedder), EmbeddingBlock(embedder)]
    first = [block.compute([conversation_text(said("How much?"))]) for block in blocks]
    assert embedder.seen.count(SYSTEM) == 2  # once for each of the blocks that read it
    embedder.seen.clear()
    again = [block.compute([conversation_text(said("How much?"))]) for block in blocks]
    assert embedder.seen == ["How much?"]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_what_is_remembered_is_bounded():
    embedder = Counting()
    vectors = TaskVectors(embedder)
    for n in range(3_000):
        vectors([conversation_text(said("x", system=f"app {n}"))])
    assert len(vectors._known) <= 1_024


def test_a_description_comes_before_the_system_prompt_and_that_before_the_prompt():
    embedder = Counting()
    vectors = TaskVectors(embedder)
    vectors([conversation_text(said("How much?", task="Accounting."))])
    assert embedder.seen == ["Accounting."]
    vectors([conversation_text(Conversation.of("How much?"))])
    assert embedder.seen == ["Accounting.", "How much?"]


@pytest.mark.parametrize("dimensions", [64, 256, 1024])
def test_every_embedder_gives_rows_of_one_width_and_of_unit_norm(dimensions):
    vectors = TaskVectors(HashingEmbedder(dimensions=dimensions))
    texts = [conversation_text(said("x", system=text)) for text in ("one app", "another one")]
    found = vectors(texts)
    assert found.shape == (2, TASK_COLUMNS)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
