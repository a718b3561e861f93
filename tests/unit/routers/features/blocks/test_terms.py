import numpy as np
import pytest

from routers.embedders.hashing import HashingEmbedder
from routers.features.blocks.terms import TermsBlock
from routers.text.conversation import ConversationText

SEA = ["the sea is deep and blue", "a ship on the deep sea", "blue sea and white ship"] * 20
CODE = ["write a python function", "a python function that sorts", "sort a list in python"] * 20


def texts(prompts):
    return [ConversationText(prompt=prompt) for prompt in prompts]


def fitted(prompts=(*SEA, *CODE)):
    block = TermsBlock(HashingEmbedder())
    block.fit(texts(prompts), seed=0)
    return block


def test_rows_are_unit_vectors_and_like_texts_are_near():
    block = fitted()
    sea, ship, code = block.compute(texts(["the deep sea", "a white ship", "a python function"]))
    assert np.linalg.norm(sea) == pytest.approx(1, abs=1e-5)
    assert sea @ ship > sea @ code


def test_a_prompt_without_known_terms_is_the_zero_vector():
    assert not fitted().compute(texts(["", "zzz qqq"])).any()


def test_what_was_learned_survives_storing_to_the_last_bit():
    block = fitted()
    again = TermsBlock(HashingEmbedder())
    again.restore(block.state())
    queries = texts(["the deep sea", "sort the ship"])
    np.testing.assert_array_equal(block.compute(queries), again.compute(queries))
    assert again.dimensions == block.dimensions > 0


def test_the_same_texts_give_the_same_terms_whatever_else():
    for name, array in fitted().state().items():
        np.testing.assert_array_equal(array, fitted().state()[name])


def test_tiny_sets_have_no_directions():
    block = fitted(["one", "two"])
    assert block.compute(texts(["one"])).shape == (1, 0)


def test_arrays_that_do_not_belong_together_are_refused():
    state = fitted().state()
    with pytest.raises(ValueError, match="equally many"):
        TermsBlock(HashingEmbedder()).restore({**state, "scales": state["scales"][:-1]})


def test_a_huge_prompt_is_read_at_its_head_and_tail_only():
    block = fitted()
    long = "the deep sea " + "zzz " * 1_000_000 + "white ship"
    near = block.compute(texts(["the deep sea white ship"]))
    assert (block.compute(texts([long])) @ near.T)[0, 0] > 0.9
