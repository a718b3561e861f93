import numpy as np
import pytest

from routers.embedders.hashing import HashingEmbedder
from routers.features.blocks.characters import MAX_CHARS, CharactersBlock
from routers.text.conversation import ConversationText

SUMS = ["solve x^2 + 3x = 0", "the sum of 2x + 4x^2", "let x^3 - x = 2"] * 20
WORDS = ["deeply sailing ships", "slowly turning wheels", "brightly shining stars"] * 20


def texts(prompts):
    return [ConversationText(prompt=prompt) for prompt in prompts]


def fitted(prompts=(*SUMS, *WORDS)):
    block = CharactersBlock(HashingEmbedder())
    block.fit(texts(prompts), seed=0)
    return block


def test_words_that_were_never_seen_are_near_by_their_endings_and_signs():
    formula, adverb, other = fitted().compute(texts(["y + 5x^2", "gladly running", "4x^2 + 9"]))
    assert np.linalg.norm(formula) == pytest.approx(1, abs=1e-5)
    assert formula @ other > 0.5 > formula @ adverb


def test_a_prompt_without_known_runs_is_the_zero_vector():
    assert not fitted().compute(texts(["", "  ", "QQQQ ZZZZ"])).any()


def test_what_was_learned_survives_storing_to_the_last_bit():
    block = fitted([*SUMS, *WORDS, *["lone \ud800 surrogate, 中文"] * 9])
    again = CharactersBlock(HashingEmbedder())
    again.restore(block.state())
    queries = texts(["4x^2 + 9", "sailing slowly", "中文 \ud800"])
    np.testing.assert_array_equal(block.compute(queries), again.compute(queries))
    assert again.dimensions == block.dimensions > 0


def test_the_same_texts_give_the_same_runs_whatever_else():
    for name, array in fitted().state().items():
        np.testing.assert_array_equal(array, fitted().state()[name])


def test_white_space_is_all_the_same():
    block = fitted()
    spaced, plain = block.compute(texts(["\tx^2\n\n +  3x\u2028", "x^2 + 3x"]))
    np.testing.assert_array_equal(spaced, plain)


def test_tiny_sets_have_no_directions():
    assert fitted(["one", "two"]).compute(texts(["one"])).shape == (1, 0)


def test_arrays_that_do_not_belong_together_are_refused():
    state = fitted().state()
    with pytest.raises(ValueError, match="equally many"):
        CharactersBlock(HashingEmbedder()).restore({**state, "scales": state["scales"][:-1]})


def test_of_a_huge_prompt_head_and_tail_are_read():
    block = fitted()
    tail = " x^2 + 3x = 0"
    near = block.compute(texts(["deeply sailing" + " Q" * 3 + tail]))
    long = "deeply sailing " + "Q" * (2_000 * MAX_CHARS) + tail
    np.testing.assert_allclose(block.compute(texts([long])), near, atol=1e-6)
