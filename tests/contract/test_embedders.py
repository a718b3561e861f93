"""What every embedder promises, whatever its kind."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from routers.embedders.base import EMBEDDERS, Embedder, describe_embedder, make_embedder
from routers.errors import RoutingConfigError

TEXTS = [
    "What is the capital of France?",
    "def f(x):\n    return x ** 2",
    "Übergröße, naïve café — 北京在哪里。 🎉",
    "a",
    "Solve 3x + 7 = 22 for x. " * 40,
]

OTHER_OPTIONS = {
    "hashing": {"dimensions": 64},
    "static": {"max_tokens": 16},
    "sentence-transformers": {"max_tokens": 16},
}

_built: dict[str, Embedder] = {}


@pytest.fixture(params=EMBEDDERS.kinds())
def embedder(request: pytest.FixtureRequest) -> Embedder:
    kind = request.param
    if kind == "sentence-transformers":
        pytest.importorskip("sentence_transformers", reason="needs the sentence-transformers extra")
    if kind not in _built:
        _built[kind] = make_embedder(kind)
    return _built[kind]


def test_rows_are_float32_of_unit_norm(embedder):
    vectors = embedder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_different_texts_get_different_vectors(embedder):
    vectors = embedder.encode(TEXTS)
    similarities = vectors @ vectors.T - np.eye(len(TEXTS))
    assert similarities.max() < 0.95


def test_empty_text_is_the_zero_vector(embedder):
    assert not embedder.encode(["", " \n\t "]).any()


def test_no_text_gives_no_rows(embedder):
    assert embedder.encode([]).shape == (0, embedder.dimensions)


def test_a_batch_equals_its_texts_one_by_one(embedder):
    one_by_one = np.vstack([embedder.encode([text]) for text in TEXTS])
    # A transformer pads its batches, which moves the last bits.
    tolerance = 1e-5 if embedder.inline_chars == 0 else 0
    np.testing.assert_allclose(embedder.encode(TEXTS), one_by_one, atol=tolerance, rtol=0)


def test_encoding_again_gives_the_same_bytes(embedder):
    assert embedder.encode(TEXTS).tobytes() == embedder.encode(TEXTS).tobytes()


def test_another_process_gives_the_same_vectors_and_id(embedder):
    kind, _ = describe_embedder(embedder)
    code = (
        "import sys; from routers.embedders.base import make_embedder;"
        f"e = make_embedder({kind!r});"
        f"sys.stdout.write(e.embedder_id + ' ' + e.encode({TEXTS!a}).tobytes().hex())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    embedder_id, hexadecimal = shown.stdout.split(" ")
    assert embedder_id == embedder.embedder_id
    theirs = np.frombuffer(bytes.fromhex(hexadecimal), dtype=np.float32)
    np.testing.assert_allclose(theirs, embedder.encode(TEXTS).ravel(), atol=1e-6)


def test_the_id_is_stable_and_changes_with_the_options(embedder):
    kind, options = describe_embedder(embedder)
    other = make_embedder(kind, {**options, **OTHER_OPTIONS[kind]})
    assert make_embedder(kind, options).embedder_id == embedder.embedder_id
    assert other.embedder_id != embedder.embedder_id


def test_described_options_build_the_same_embedder(embedder):
    kind, options = describe_embedder(embedder)
    again = make_embedder(kind, options)
    np.testing.assert_allclose(again.encode(TEXTS[:1]), embedder.encode(TEXTS[:1]), atol=1e-6)


@pytest.mark.parametrize("unit", ["word ", "x", "漢", "9", "\n", "\ud800"])
def test_a_huge_text_costs_a_bounded_amount(embedder, unit):
    huge = unit * (10_000_000 // len(unit))
    embedder.encode([huge])
    started = time.process_time()
    vectors = embedder.encode([huge])
    assert time.process_time() - started < (10 if embedder.inline_chars == 0 else 0.2)
    assert np.isfinite(vectors).all()


def test_head_and_tail_of_a_long_text_count_and_its_middle_does_not(embedder):
    middle = "the weather was fine and nothing happened that day " * 2_000
    other = "a quite different story about ships and storms told " * 2_000
    head, tail = "Translate into French. " * 200, " How many prime numbers are there?" * 200
    base, changed_middle, changed_tail = embedder.encode(
        [head + middle + tail, head + other + tail, head + middle + " ¿Dónde está?" * 600]
    )
    assert base @ changed_middle == pytest.approx(1, abs=1e-4)
    assert base @ changed_tail < 0.999


def test_threads_get_the_vectors_that_one_thread_gets(embedder):
    expected = embedder.encode(TEXTS)
    with ThreadPoolExecutor(max_workers=4) as pool:
        for vectors in pool.map(embedder.encode, [TEXTS] * 12):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_unknown_options_are_named(embedder):
    kind, _ = describe_embedder(embedder)
    with pytest.raises(RoutingConfigError, match="'colour'"):
        make_embedder(kind, {"colour": "red"})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("hashing", {"dimensions": "256"}),
        ("hashing", {"dimensions": 1}),
        ("hashing", {"dimensions": True}),
        ("static", {"max_tokens": 0}),
        ("static", {"path": 7}),
        ("sentence-transformers", {"max_tokens": 1.5}),
        ("sentence-transformers", {"model": None}),
    ],
)
def test_wrong_option_values_are_named(kind, options):
    (name,) = options
    with pytest.raises(RoutingConfigError, match=rf"{kind}.*'{name}'"):
        make_embedder(kind, options)


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(RoutingConfigError, match=r"hashing.*sentence-transformers.*static"):
        make_embedder("word2vec")


def test_an_embedder_that_is_not_registered_cannot_be_described():
    class Homemade:
        embedder_id, dimensions, inline_chars = "homemade", 2, 0

        def encode(self, texts):
            return np.zeros((len(texts), 2), dtype=np.float32)

    with pytest.raises(RoutingConfigError, match="Homemade"):
        describe_embedder(Homemade())
