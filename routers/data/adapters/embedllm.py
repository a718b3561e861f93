"""EmbedLLM: one row per prompt and model, right or wrong."""

from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record, number, read_csv


def records(path: Path) -> Iterator[Record]:
    """Yield every outcome; columns `prompt_id`, `prompt`, `model_name`, `label`, `category`.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a column.
    """
    for row in read_csv(path, ("prompt_id", "prompt", "model_name", "label")):
        yield {
            "query_id": row["prompt_id"],
            "prompt": row["prompt"],
            "model": row["model_name"],
            "quality": number(f"{path}: prompt {row['prompt_id']}", row["label"]),
            "set": "embedllm",
            "benchmark": row.get("category") or row.get("category_id") or "unknown",
        }
