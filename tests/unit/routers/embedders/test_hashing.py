import numpy as np
import pytest

from routers.embedders.hashing import HashingEmbedder

# Artifacts in the field hold vectors like this one.
EXPECTED = [-0.3665083, 0.0, 0.0, 0.8551861, 0.0, 0.2443389, -0.2443389, 0.1221694]


def test_shared_words_bring_texts_together():
    near, same, far = HashingEmbedder().encode(
        ["sort a list in python", "how to sort a python list", "the weather in Paris today"]
    )
    assert near @ same > 0.5
    assert near @ same > near @ far + 0.3


def test_word_order_matters_a_little():
    one, other = HashingEmbedder().encode(["dog bites man", "man bites dog"])
    assert 0.5 < one @ other < 1


def test_vectors_never_change_between_versions():
    (vector,) = HashingEmbedder(dimensions=8).encode(["A steelyard weighs."])
    assert vector == pytest.approx(np.array(EXPECTED, dtype=np.float32), abs=1e-6)
