"""The gateway's own decision log with quality labels: what was served and what came of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record
from routers.data.lines import json_lines
from routers.errors import DataError
from routers.files import shown_value


def records(path: Path) -> Iterator[Record]:
    """Yield the outcomes of requests that were served and labelled.

    Keys of a line: `request_id`, `served_model_id` (or `model`), `quality`, `prompt` or
    `messages`, optional `usage` with `input_tokens` and `output_tokens`, and `cost_usd`. Lines
    without a quality or an answer are skipped.

    Raises
    ------
    DataError
        If a labelled line has no text, or no line has a label.
    """
    labelled = 0
    for where, row in json_lines(path):
        model = row.get("served_model_id") or row.get("model")
        if row.get("quality") is None or not model:
            continue
        text = {name: row[name] for name in ("messages", "prompt") if row.get(name) is not None}
        if not text:
            raise DataError(
                f"{where}: has a quality but neither prompt nor messages; join the log with the "
                "texts of the requests by request_id first"
            )
        labelled += 1
        usage: Mapping[str, Any] = row.get("usage") or {}
        if not isinstance(usage, dict):
            raise DataError(f"{where}: 'usage' must be an object, got {shown_value(usage)}")
        yield {
            "query_id": str(row.get("request_id") or where),
            **dict([next(iter(text.items()))]),
            "model": model,
            "quality": row["quality"],
            "input_tokens": usage.get("input_tokens"),
            "output_tokens": usage.get("output_tokens"),
            "cost_usd": row.get("cost_usd"),
            "set": "decision-log",
            **({"benchmark": row["policy"]} if row.get("policy") else {}),
        }
    if not labelled:
        raise DataError(f"{path}: no line has both an answer and a quality")
