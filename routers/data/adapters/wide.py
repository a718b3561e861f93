"""Tables of our own columns, a row a query (`q:MODEL`) or an outcome: parquet or CSV, checked."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record, read_rows, refuse_pickle
from routers.data.csv_file import csv_records
from routers.data.opening import suffix_of
from routers.data.parquet import read_queries
from routers.data.parquet_columns import schema_names
from routers.errors import DataError

_FAMILIES = {"q:": "quality", "c:": "cost_usd", "t:": "output_tokens"}
_QUERY = ("prompt", "messages", "query", "set", "benchmark", "subset", "input_tokens")


def records(path: Path) -> Iterator[Record]:
    """Yield every known outcome.

    Raises
    ------
    DataError
        If the file cannot be read, or has no column of qualities.
    """
    for number, row in enumerate(_rows(path), 1):
        query = {name: row[name] for name in _QUERY if row.get(name) is not None}
        if "messages" in query:
            query.pop("prompt", None)
        told = row.get("query_id")
        query["query_id"] = str(query.get("prompt") or number) if told is None else str(told)
        if "model" in row:
            yield {**row, **query}
            continue
        for model in dict.fromkeys(name[2:] for name in row if name.startswith("q:")):
            values = {name: row.get(prefix + model) for prefix, name in _FAMILIES.items()}
            known = {name: value for name, value in values.items() if value is not None}
            if known:
                yield {**query, "model": model, "quality": None, **known}


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    refuse_pickle(path)
    if suffix_of(path) in (".csv", ".tsv"):
        for _, row in csv_records(path):
            yield row
        return
    names = schema_names(path)
    if not any(name.startswith("q:") for name in names) and not {"model", "quality"} <= set(names):
        raise DataError(f"{path}: has no q:MODEL column, so there is no quality to learn from")
    if "model" not in names:
        read_queries(path)  # what is wrong with the queries is told by its place
    for number, row in enumerate(read_rows(path)):
        plain = {name: _plain(value) for name, value in row.items()}
        if isinstance(plain.get("messages"), str):
            try:
                plain["messages"] = json.loads(plain["messages"])
            except (ValueError, RecursionError):
                raise DataError(f"{path}: row {number}, column 'messages' is no JSON") from None
        yield plain


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
