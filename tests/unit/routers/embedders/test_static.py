import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from routers.embedders.static import StaticEmbedder, table_digest
from routers.errors import RoutingConfigError
from routers.text.window import head_and_tail

SHIPPED = Path(str(resources.files("routers"))) / "pretrained/static"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a table of three known tokens."""
    (tmp_path / "vocab.txt").write_text("[UNK]\nred\ngreen\nblue")
    table = np.array([[0, 0, 0], [127, 0, 0], [0, 127, 0], [0, 0, 64]], dtype=np.int8)
    np.save(tmp_path / "table.npy", table)
    np.save(tmp_path / "scales.npy", np.array([1, 1, 3, 1], dtype=np.float32))
    (tmp_path / "metadata.json").write_text(json.dumps({"sha256": table_digest(tmp_path)}))
    return tmp_path


def test_the_mean_is_weighted_by_the_scales(folder):
    (vector,) = StaticEmbedder(path=str(folder)).encode(["Red green"])
    assert vector == pytest.approx(np.array([1, 3, 0]) / np.sqrt(10), abs=1e-6)


def test_only_head_and_tail_tokens_are_read(folder):
    embedder = StaticEmbedder(path=str(folder), max_tokens=4)
    text = "red red red blue blue blue blue green"
    assert embedder.encode([text]) == pytest.approx(embedder.encode(["red red red green"]))


def test_a_text_of_unknown_words_alone_is_the_zero_vector(folder):
    assert not StaticEmbedder(path=str(folder)).encode(["purple"]).any()


def test_a_damaged_table_is_refused(folder):
    np.save(folder / "scales.npy", np.ones(4, dtype=np.float32))
    with pytest.raises(RoutingConfigError, match="damaged"):
        StaticEmbedder(path=str(folder))


@pytest.mark.parametrize("name", ["table.npy", "scales.npy", "vocab.txt", "metadata.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(RoutingConfigError, match=name):
        StaticEmbedder(path=str(folder))


def test_other_weights_get_another_id(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    np.save(other / "scales.npy", np.array([1, 1, 2, 1], dtype=np.float32))
    (other / "metadata.json").write_text(json.dumps({"sha256": table_digest(other)}))
    first, second = StaticEmbedder(path=str(folder)), StaticEmbedder(path=str(other))
    assert first.embedder_id != second.embedder_id


def test_the_shipped_table_puts_related_questions_side_by_side():
    question, paraphrase, unrelated = StaticEmbedder().encode(
        [
            "How do I sort a list of numbers in Python?",
            "python: sorting an array of integers",
            "Which river flows through the capital of France?",
        ]
    )
    assert question @ paraphrase > 0.5
    assert question @ paraphrase > question @ unrelated + 0.3


def test_the_shipped_files_are_small():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 9_000_000


def test_head_and_tail_together_are_as_long_as_allowed():
    text = "".join(chr(97 + index % 26) for index in range(1_000))
    assert head_and_tail(text, 1_000) == (text, "")
    assert head_and_tail(text, 100) == (text[:75], text[-25:])
    assert head_and_tail(text, 999)[0] + head_and_tail(text, 999)[1] == text[:749] + text[750:]
