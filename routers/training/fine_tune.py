"""Train the last layers of a transformer on outcomes: who wins, or what answers are worth."""

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.dataset import OutcomeTable, read_outcomes
from routers.embedders.sentence_transformers import SentenceTransformersEmbedder
from routers.errors import DataError, RoutingConfigError
from routers.evaluation.crossfit import prompt_folds
from routers.numeric import FloatArray, nan_mean
from routers.strategies.bert import sides_of_tiers
from routers.text.conversation import conversation_text
from routers.training.tuning_goals import TuningGoal, WhatAnswersAreWorth, WhoWins
from routers.types import FloatMatrix

RECORD_FILE = "fine_tuned.json"
"""Stands beside the encoder's own files and says how it came about."""

_HELD_OUT = 8
"""One prompt in so many judges the epochs."""

_HEAD_RATE = 1e-2
_ENCODE_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneOptions:
    """What is trained, and how long.

    Attributes
    ----------
    model, max_tokens
        As of the embedder `sentence-transformers`: where to start from, and how much is read.
    strong, weak
        Names of the two models; by default those of highest and lowest mean quality.
    n_tiers, pairs_per_query
        Compare many models instead, as the strategy `bert` does with `n_tiers`: those of the first
        two tiers with those of the third, by so many random pairs a prompt.
    per_model
        Compare nobody: learn how good and how long the answer of every model is.
    n_layers
        How many of the last layers learn; the others stay as they are.
    learning_rate
        Of these layers; the classifier on top, which is thrown away, learns faster.
    """

    model: str = "all-MiniLM-L6-v2"
    max_tokens: int | None = 128
    strong: str | None = None
    weak: str | None = None
    n_tiers: int | None = None
    pairs_per_query: int = 10
    per_model: bool = False
    n_layers: int = 2
    n_epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 2e-5
    seed: int = 0


def fine_tune(
    data: Sequence[Path],
    out: Path,
    *,
    options: FineTuneOptions,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write an encoder, as a folder, that the embedder `sentence-transformers` can load.

    The classes are those of the strategy `bert`: the strong model wins, ties or loses; with
    `per_model` there are two numbers for every model in their place. One prompt in eight is held
    out; the epoch whose loss on these is least is kept, where the one before any epoch is the
    encoder as it was, with a head of its own. Weights are written as safetensors: nothing is
    unpickled when the encoder is loaded.

    Returns
    -------
    The record that stands beside the encoder: data, options, held-out losses (cross-entropies in
    nats).

    Raises
    ------
    DataError, RoutingConfigError
        If the data or an option cannot be used, or the extra is not installed.

    Notes
    -----
    The encoder knows the outcomes of its prompts. A router that is fitted on the same prompts
    looks better in cross-fitting than it is: fit it on others.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665 (which trains all layers of bert-base).
    Somerstep et al. 2025, CARROT, arXiv:2502.03261 (all of roberta-base, a head per model).
    """
    progress("reading outcomes")
    table = read_outcomes(data)
    learned = _learned(table, options)
    rows = learned.rows
    conversations = [table.conversations[row] for row in rows]
    # Last, since it takes many seconds to load: data that cannot be used is refused at once.
    embedder = SentenceTransformersEmbedder(model=options.model, max_tokens=options.max_tokens)
    texts = [embedder.shorten(conversation_text(each).prompt) for each in conversations]
    held = prompt_folds(conversations, _HELD_OUT, np.random.default_rng(options.seed)) == 0

    tuning = _Tuning(embedder, options)
    losses = tuning.run(texts, learned.goal, held=held, progress=progress)
    record = {
        "data": [
            {"file": each.name, "sha256": each.sha256, "rows": each.n_rows} for each in table.files
        ],
        **learned.told,
        "options": asdict(options),
        "n_queries": len(np.unique(rows)),
        "loss": learned.goal.loss_name,
        "held_out_loss": [round(loss, 6) for loss in losses],
        "epoch": int(np.argmin(losses)),
    }
    tuning.save(out, record)
    return record


@dataclass(frozen=True, slots=True)
class _Learned:
    """What is learned, from which rows of the table, and what the record tells of it."""

    goal: TuningGoal
    rows: np.ndarray
    told: dict[str, Any]


def _learned(table: OutcomeTable, options: FineTuneOptions) -> _Learned:
    if options.per_model:
        return _of_every_model(table, options)
    of_whom = _of_pair if options.n_tiers is None else _of_tiers
    strong, weak, rows, gap = of_whom(table, options)
    told = {"strong": strong, "weak": weak, "n_comparisons": len(rows)}
    return _Learned(WhoWins(gap), rows, told)


def _of_every_model(table: OutcomeTable, options: FineTuneOptions) -> _Learned:
    if (options.strong, options.weak, options.n_tiers) != (None, None, None):
        raise RoutingConfigError(
            "every model is learned by itself: leave strong, weak and tiers out, or per-model"
        )
    rows = np.flatnonzero(~np.isnan(table.quality).all(axis=1))
    if len(rows) == 0:
        raise DataError("no model answered any query; add outcomes")
    goal = WhatAnswersAreWorth(table.quality[rows], table.output_tokens[rows])
    return _Learned(goal, rows, {"models": list(table.models)})


_Compared = tuple[str | list[str], str | list[str], np.ndarray, FloatArray]
"""The strong and the weak side, and of each comparison the row and by how much the strong won."""


def _of_pair(table: OutcomeTable, options: FineTuneOptions) -> _Compared:
    strong, weak = _pair(table, options)
    quality = table.quality[:, [strong, weak]].astype(np.float64)
    rows = np.flatnonzero(~np.isnan(quality).any(axis=1))
    if len(rows) == 0:
        names = f"{table.models[strong]} and {table.models[weak]}"
        raise DataError(f"no query was answered by both {names}; add outcomes, or name others")
    gap = quality[rows, 0] - quality[rows, 1]
    return table.models[strong], table.models[weak], rows, gap


def _of_tiers(table: OutcomeTable, options: FineTuneOptions) -> _Compared:
    if options.strong is not None or options.weak is not None:
        raise RoutingConfigError(
            "with tiers the strong and the weak models are found: leave strong and weak out"
        )
    assert options.n_tiers is not None  # noqa: S101  (who has none is compared as a pair)
    sides = sides_of_tiers(
        table.labels,
        options.n_tiers,
        pairs_per_query=options.pairs_per_query,
        rng=np.random.default_rng(options.seed),
    )
    strong, weak = ([table.models[i] for i in side] for side in (sides.strong, sides.weak))
    return strong, weak, sides.row, sides.outcomes.strong - sides.outcomes.weak


def _pair(table: OutcomeTable, options: FineTuneOptions) -> tuple[int, int]:
    means = nan_mean(table.quality, default=0.0)
    columns = []
    for name, default in ((options.strong, means.argmax()), (options.weak, means.argmin())):
        if name is not None and name not in table.models:
            known = ", ".join(table.models)
            raise RoutingConfigError(f"there are no outcomes of {name!r}; known: {known}")
        columns.append(int(default) if name is None else table.models.index(name))
    if columns[0] == columns[1]:
        raise RoutingConfigError("the strong and the weak model are the same; name two")
    return columns[0], columns[1]


class _Tuning:
    """The encoder, a linear head on its unit vectors, and their training.

    The library's objects have no types here: it is an extra.
    """

    def __init__(self, embedder: SentenceTransformersEmbedder, options: FineTuneOptions) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._model: Any = embedder.library_model
        self._options = options
        self._width = embedder.dimensions
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        layers = self._layers()
        if options.n_layers > len(layers):
            raise RoutingConfigError(f"the model has {len(layers)} layers, not {options.n_layers}")
        self._learning = [
            parameter
            for layer in layers[len(layers) - options.n_layers :]
            for parameter in layer.parameters()
        ]
        for parameter in self._learning:
            parameter.requires_grad_(True)

    def _layers(self) -> list[Any]:
        lists = [
            list(module)
            for module in self._model.modules()
            if isinstance(module, self._torch.nn.ModuleList)
        ]
        if not lists:
            raise RoutingConfigError("the model has no list of layers that could be trained")
        return max(lists, key=len)

    def run(
        self,
        texts: Sequence[str],
        goal: TuningGoal,
        *,
        held: np.ndarray,
        progress: Callable[[str], None],
    ) -> list[float]:
        """Train; return the held-out loss before and after every epoch."""
        torch, options = self._torch, self._options
        train, judge = np.flatnonzero(~held), np.flatnonzero(held)
        torch.manual_seed(options.seed)
        rng = np.random.default_rng(options.seed)
        head = self._first_head(self._encode(_pick(texts, train)), goal, train)
        optimiser = torch.optim.AdamW(
            [
                {"params": self._learning, "lr": options.learning_rate},
                {"params": head.parameters(), "lr": _HEAD_RATE / 10},
            ]
        )
        losses = [self._loss(head, texts, goal, judge)]
        best = self._copy()
        progress(f"held-out loss {losses[0]:.4f} before training")
        for epoch in range(1, options.n_epochs + 1):
            self._model.train()
            order = rng.permutation(train)
            for begin in range(0, len(order), options.batch_size):
                at = order[begin : begin + options.batch_size]
                loss = goal.loss(torch, head(self._vectors(_pick(texts, at))), at)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            self._model.eval()
            losses.append(self._loss(head, texts, goal, judge))
            progress(f"held-out loss {losses[-1]:.4f} after epoch {epoch}")
            if losses[-1] < min(losses[:-1]):
                best = self._copy()
        with torch.no_grad():
            for parameter, kept in zip(self._learning, best, strict=True):
                parameter.copy_(kept)
        return losses

    def save(self, out: Path, record: dict[str, Any]) -> None:
        """Write the encoder and its record."""
        try:
            self._model.save(str(out), create_model_card=False, safe_serialization=True)
            text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
            (out / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise RoutingConfigError(f"cannot write the encoder to {out}: {error}") from error

    def _first_head(self, vectors: FloatMatrix, goal: TuningGoal, at: np.ndarray) -> Any:
        """Return a head fitted to the encoder as it is, so that training starts fair."""
        torch = self._torch
        head = torch.nn.Linear(self._width, goal.n_outputs)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        x = torch.as_tensor(vectors) * self._scale
        optimiser = torch.optim.AdamW(head.parameters(), lr=_HEAD_RATE, weight_decay=1.0)
        for _ in range(200):
            optimiser.zero_grad()
            goal.loss(torch, head(x), at).backward()
            optimiser.step()
        return head

    @property
    def _scale(self) -> float:
        """Make unit vectors' entries of order one, as the classifier's learning rate expects."""
        return float(np.sqrt(self._width))

    def _vectors(self, texts: Sequence[str]) -> Any:
        """Return the encoder's vectors, with gradients where it is training."""
        features = self._model.preprocess(list(texts))
        vectors = self._model(features)["sentence_embedding"]
        return self._torch.nn.functional.normalize(vectors, dim=1) * self._scale

    def _encode(self, texts: Sequence[str]) -> FloatMatrix:
        with self._torch.no_grad():
            blocks = [
                self._vectors(texts[begin : begin + _ENCODE_BATCH]).numpy() / self._scale
                for begin in range(0, len(texts), _ENCODE_BATCH)
            ]
        return np.concatenate(blocks).astype(np.float32)

    def _loss(self, head: Any, texts: Sequence[str], goal: TuningGoal, at: np.ndarray) -> float:
        torch = self._torch
        with torch.no_grad():
            outputs = head(torch.as_tensor(self._encode(_pick(texts, at))) * self._scale)
            return float(goal.loss(torch, outputs, at))

    def _copy(self) -> list[Any]:
        return [parameter.detach().clone() for parameter in self._learning]


def _pick(texts: Sequence[str], index: np.ndarray) -> list[str]:
    return [texts[i] for i in index.tolist()]
