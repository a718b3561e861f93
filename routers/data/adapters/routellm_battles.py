"""Chatbot Arena battles, as LMSYS publishes them and RouteLLM (arXiv:2406.18665) trains on them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record, read_csv, read_rows
from routers.data.battles import battle
from routers.data.opening import suffix_of


def records(path: Path) -> Iterator[Record]:
    """Yield one preference per battle of a CSV, parquet or JSONL file; see `battle`.

    Raises
    ------
    DataError
        If a column is missing, or a battle has not exactly one result.
    """
    rows: Iterator[Mapping[str, Any]] = (
        read_csv(path, ("model_a", "model_b"))
        if suffix_of(path) in (".csv", ".tsv")
        else read_rows(path)
    )
    for i, row in enumerate(rows):
        found = battle(f"{path}: row {i}", row)
        yield {"query_id": str(i), **found} if "query_id" not in found else found
