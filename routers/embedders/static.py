"""A table of token vectors: the mean of the tokens stands for the text."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from routers.embedders.base import EMBEDDERS
from routers.errors import RoutingConfigError
from routers.text.window import HEAD_SHARE, head_and_tail
from routers.text.wordpiece import WordPiece
from routers.types import FloatMatrix, FloatVector

TABLE_FILE, SCALES_FILE, VOCABULARY_FILE = "table.npy", "scales.npy", "vocab.txt"
METADATA_FILE = "metadata.json"

_VERSION = 1  # of how a text is cut, tokenised and averaged
# English runs at 4.5 characters per token; only white space and very plain prose pass 6.
_CHARS_PER_TOKEN = 6


def table_digest(folder: Path) -> str:
    """Return the SHA-256 over everything in `folder` that shapes the vectors."""
    total = hashlib.sha256()
    for name in (TABLE_FILE, SCALES_FILE, VOCABULARY_FILE):
        with (folder / name).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


@EMBEDDERS.register("static")
class StaticEmbedder:
    """Average the vectors of a text's tokens, out of a table distilled from a transformer.

    The table is int8 with one float32 scale per token, mapped from disk; the scale carries the
    token's weight too. `scripts/distill_static_embedder.py` made the one in the package, from
    all-MiniLM-L6-v2. Safe to share between threads.

    Parameters
    ----------
    path
        Folder with `table.npy`, `scales.npy`, `vocab.txt`, `metadata.json`; the packaged one
        when None.
    max_tokens
        Of a longer text, the first three quarters of this number of tokens and the last quarter
        are read. A text of over `6 * max_tokens` characters is cut to its head and tail of that
        many characters first, so that the cost is bounded whatever its size.

    Raises
    ------
    RoutingConfigError
        If a file is missing or does not match the digest in `metadata.json`.

    References
    ----------
    Tulkens and van Dongen 2024, Model2Vec, doi:10.5281/zenodo.17270888 (token vectors of a
    transformer, reduced and weighted); Arora et al. 2017, A Simple but Tough-to-Beat Baseline
    for Sentence Embeddings (smooth inverse frequency).
    """

    # English takes 0.06 ms per 1,000 characters on one 2.5 GHz core; the worst text found, of
    # random characters never seen before, 3.6 ms.
    inline_chars = 1_000

    def __init__(
        self, *, path: str | None = None, max_tokens: Annotated[int, Field(ge=1)] = 512
    ) -> None:
        folder = Path(path) if path else Path(str(resources.files("routers"))) / "pretrained/static"
        try:
            # A plain array over the map: np.memmap itself makes every gather slower.
            self._table = np.asarray(np.load(folder / TABLE_FILE, mmap_mode="r"))
            self._scales: FloatVector = np.load(folder / SCALES_FILE)
            vocabulary = (folder / VOCABULARY_FILE).read_text(encoding="utf-8").split("\n")
            expected = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))["sha256"]
            digest = table_digest(folder)
        except (OSError, ValueError, KeyError) as error:
            raise RoutingConfigError(f"no static embedding table in {folder}: {error}") from error
        if digest != expected:
            raise RoutingConfigError(
                f"the static embedding table in {folder} is damaged: its digest is {digest}, "
                f"{METADATA_FILE} says {expected}"
            )
        self.path = path
        self.max_tokens = max_tokens
        self.dimensions = int(self._table.shape[1])
        self.embedder_id = f"static-{_VERSION}-{digest[:16]}-{max_tokens}"
        self._wordpiece = WordPiece(vocabulary)

    @classmethod
    def outside(cls, options: Mapping[str, Any]) -> str | None:
        """Return the folder, unless it is the packaged one."""
        path = options.get("path")
        return None if path is None else str(path)

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 (len(texts), dimensions), rows of unit norm (zero for empty text)."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, ids in enumerate(self.tokenise(texts)):
            if ids:
                rows = np.array(ids, np.intp)
                vectors_of_tokens = self._table.take(rows, axis=0).astype(np.float32)
                vector = self._scales.take(rows).dot(vectors_of_tokens)
                norm = math.sqrt(vector.dot(vector))
                if norm > 0:
                    np.divide(vector, norm, out=vectors[row])
        return vectors

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the tokens that are read of each text."""
        return [self._ids(text) for text in texts]

    def _ids(self, text: str) -> list[int]:
        """Return the ids of the tokens that are read."""
        head, tail = head_and_tail(text, self.max_tokens * _CHARS_PER_TOKEN)
        ids = self._wordpiece.ids(head)
        if not tail and len(ids) <= self.max_tokens:
            return ids
        n_head = int(self.max_tokens * HEAD_SHARE)
        n_tail = self.max_tokens - n_head
        rest = self._wordpiece.ids(tail) if tail else ids[n_head:]
        return ids[:n_head] + rest[-n_tail:]
