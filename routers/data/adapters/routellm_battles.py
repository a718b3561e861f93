"""Chatbot Arena battles, as RouteLLM (arXiv:2406.18665) trains on: CSV, parquet or JSONL."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record, read_csv, read_rows, unlisted
from routers.errors import DataError

_WINNERS = ("model_a", "model_b", "tie")


def records(path: Path) -> Iterator[Record]:
    """Yield one preference per battle.

    Either `winner` names the side, or one of `winner_model_a`, `winner_model_b`, `winner_tie`
    is 1. Turns of a conversation are joined; `tie (bothbad)` is a tie.

    Raises
    ------
    DataError
        If a column is missing, or a battle has not exactly one result.
    """
    rows: Iterator[Mapping[str, Any]] = (
        read_csv(path, ("prompt", "model_a", "model_b"))
        if path.suffix.lower() == ".csv"
        else read_rows(path)
    )
    for i, row in enumerate(rows):
        where = f"{path}: row {i}"
        missing = [name for name in ("prompt", "model_a", "model_b") if not row.get(name)]
        if missing:
            raise DataError(f"{where}: {missing[0]!r} is missing")
        prompt = row["prompt"]
        yield {
            "query_id": str(row.get("id") or row.get("question_id") or i),
            "prompt": "\n\n".join(prompt) if isinstance(prompt, list) else unlisted(prompt),
            "model_a": row["model_a"],
            "model_b": row["model_b"],
            "winner": _winner(where, row),
        }


def _winner(where: str, row: Mapping[str, Any]) -> str:
    if row.get("winner"):
        winner = "tie" if str(row["winner"]).startswith("tie") else str(row["winner"])
        if winner in _WINNERS:
            return winner
    columns = ("winner_model_a", "winner_model_b", "winner_tie")
    won = [name for name, column in zip(_WINNERS, columns, strict=True) if _is_one(row.get(column))]
    if len(won) != 1:
        raise DataError(f"{where}: tells no winner out of {', '.join(_WINNERS)}")
    return won[0]


def _is_one(value: object) -> bool:
    return value in (1, "1", "1.0", True, "True", "true")
