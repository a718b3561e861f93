"""xRouteBench, the data of LLMRouter: `routing_data_*.jsonl`, one model on one query a line."""

import json
from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record, number, read_rows
from routers.errors import DataError
from routers.files import shown_value


def records(path: Path) -> Iterator[Record]:
    """Yield every outcome of a JSONL or parquet file.

    Keys are `query` (a text, or the messages of a chat), `model_name`, `performance`, and where
    known `task_name`, `task_id`, `embedding_id`, `input_tokens` and `output_tokens`. Costs are not
    told: give `--prices` from `llm_candidates/default_llm.json`.

    Raises
    ------
    DataError
        If a row lacks one of the first three.
    """
    for i, row in enumerate(read_rows(path)):
        where = f"{path}: row {i}"
        query, model = row.get("query"), row.get("model_name")
        if isinstance(query, str) and query[:1] == "[":
            query = _messages(query)
        if not query or not isinstance(query, str | list):
            raise DataError(f"{where}: 'query' must be a text, got {shown_value(query)}")
        if not isinstance(model, str) or not model:
            raise DataError(f"{where}: 'model_name' must be a text, got {shown_value(model)}")
        task = str(row.get("task_name") or "unknown")
        asked = next((row[k] for k in ("task_id", "embedding_id") if row.get(k) is not None), None)
        text = query if isinstance(query, str) else json.dumps(query, sort_keys=True)
        yield {
            "query_id": f"{task}-{text if asked is None else asked}",
            ("prompt" if isinstance(query, str) else "messages"): query,
            "model": model,
            "quality": number(where, row.get("performance")),
            "input_tokens": number(where, row.get("input_tokens")),
            "output_tokens": number(where, row.get("output_tokens")),
            "set": "xroutebench",
            "benchmark": task,
        }


def _messages(text: str) -> str | list[object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_chat = isinstance(found, list) and all(isinstance(each, dict) for each in found)
    return found if is_chat and found else text
