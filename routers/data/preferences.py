"""Preferences: which of two models' answers somebody liked better, one comparison per line."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from routers.base import Comparisons
from routers.data.battles import battle
from routers.data.lines import json_lines
from routers.data.messages import group_of
from routers.data.part import Part
from routers.errors import DataError
from routers.files import shown_value
from routers.types import Conversation

_OUTCOMES = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5}


def has_preferences(path: Path) -> bool:
    """Whether the first line of a JSONL file is a comparison; what cannot be read is none."""
    try:
        return any(
            "winner" in record or {"model_a", "model_b"} <= record.keys()
            for _, record in itertools.islice(json_lines(path), 1)
        )
    except DataError:
        return False


def read_preferences(path: Path) -> Part:
    """Read comparisons, one per line, and gather them by prompt.

    Keys: `prompt` (text), `model_a`, `model_b`, `winner` (`model_a`, `model_b` or `tie`; the
    arena's `tie (bothbad)` is a tie too), optional `query_id`, `set`, `benchmark`. Other keys,
    such as the judge, are ignored, empty lines skipped. What arenas publish is read as it is
    (`routers.data.battles`): `conversation_a` for the prompt, `winner_model_a` for the winner.

    The quality of a model on a query is its share of comparisons won, a tie being half a win: what
    strategies that learn from outcomes make of preferences. Those that learn from comparisons
    read the comparisons themselves.

    Raises
    ------
    DataError
        If a line cannot be understood; the message names it.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665 (the format).
    """
    queries: dict[tuple[str, str], int] = {}
    groups: list[str] = []
    models: dict[str, int] = {}
    comparisons: list[tuple[int, int, int, float]] = []
    for where, line in json_lines(path):
        ours = isinstance(line.get("prompt"), str) and isinstance(line.get("winner"), str)
        record = _record(where, line if ours else battle(where, line))
        key = (record["query_id"], record["prompt"])
        if key not in queries:
            queries[key] = len(queries)
            groups.append(record["group"])
        a, b = (models.setdefault(name, len(models)) for name in record["models"])
        comparisons.append((queries[key], a, b, record["outcome"]))
    if not comparisons:
        raise DataError(f"{path}: has no rows")
    row, first, second = (np.asarray([each[i] for each in comparisons], np.intp) for i in range(3))
    outcome = np.asarray([each[3] for each in comparisons], np.float32)
    shape = (len(queries), len(models))
    conversations = tuple(Conversation.of(prompt) for _, prompt in queries)
    return Part(
        query_ids=tuple(query_id for query_id, _ in queries),
        prompts=tuple(prompt for _, prompt in queries),
        conversations=conversations,
        billed=conversations,
        input_tokens=(None,) * len(queries),
        groups=tuple(groups),
        models=tuple(models),
        quality=_win_shares(shape, row, first, second, outcome),
        output_tokens=np.full(shape, np.nan),
        cost_usd=np.full(shape, np.nan),
        comparisons=Comparisons(row=row, a=first, b=second, outcome=outcome),
    )


def _win_shares(
    shape: tuple[int, int], row: np.ndarray, a: np.ndarray, b: np.ndarray, outcome: np.ndarray
) -> np.ndarray:
    won, compared = np.zeros(shape), np.zeros(shape)
    for model, share in ((a, outcome), (b, 1 - outcome)):
        np.add.at(won, (row, model), share)
        np.add.at(compared, (row, model), 1)
    return np.where(compared > 0, won / np.maximum(compared, 1), np.nan)


def _record(where: str, record: dict[str, Any]) -> dict[str, Any]:
    for name in ("prompt", "model_a", "model_b"):
        if not isinstance(record.get(name), str) or not record[name]:
            raise DataError(
                f"{where}: {name!r} must be a text, got {shown_value(record.get(name))}"
            )
    if record["model_a"] == record["model_b"]:
        raise DataError(f"{where}: {shown_value(record['model_a'])} cannot compete with itself")
    winner = record.get("winner")
    if not isinstance(winner, str) or winner not in _OUTCOMES:
        known = ", ".join(_OUTCOMES)
        raise DataError(f"{where}: 'winner' is {shown_value(winner)}; it must be one of {known}")
    query_id = record.get("query_id")
    if query_id is None:
        query_id = hashlib.sha256(record["prompt"].encode()).hexdigest()[:16]
    return {
        "query_id": _id(where, query_id),
        "prompt": record["prompt"],
        "group": group_of(where, record, ("set", "benchmark")),
        "models": (record["model_a"], record["model_b"]),
        "outcome": _OUTCOMES[winner],
    }


def _id(where: str, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise DataError(f"{where}: 'query_id' must be a text, got {shown_value(value)}")
    return str(value)
