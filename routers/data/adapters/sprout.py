"""SPROUT, the data of CARROT (arXiv:2502.03261): per model an object of score and tokens."""

from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record, number, read_rows
from routers.errors import DataError

_SCORE = "score"


def records(path: Path) -> Iterator[Record]:
    """Yield every outcome of a parquet or JSONL file.

    A column of objects with `score` is a model; further keys are `num_input_tokens` and
    `num_output_tokens`. `key` names the query, `dataset` its origin.

    Raises
    ------
    DataError
        If the prompt is missing or no column is a model.
    """
    for i, row in enumerate(read_rows(path)):
        models = [
            name for name, value in row.items() if isinstance(value, dict) and _SCORE in value
        ]
        if not isinstance(row.get("prompt"), str) or not models:
            raise DataError(f"{path}: row {i} needs a prompt and objects with {_SCORE!r} per model")
        key = row.get("key")
        for model in models:
            where = f"{path}: row {i}, {model}"
            yield {
                "query_id": str(i if key is None else key),
                "prompt": row["prompt"],
                "model": model,
                "quality": number(where, row[model][_SCORE]),
                "input_tokens": number(where, row[model].get("num_input_tokens")),
                "output_tokens": number(where, row[model].get("num_output_tokens")),
                "set": "sprout",
                "benchmark": str(row.get("dataset") or "unknown"),
            }
