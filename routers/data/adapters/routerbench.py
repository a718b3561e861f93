"""RouterBench (arXiv:2403.12031) as CSV: per model its score, answer and cost."""

from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record, number, read_csv, tokens_of
from routers.data.battles import unlisted
from routers.errors import DataError

_COST, _ANSWER = "|total_cost", "|model_response"


def records(path: Path) -> Iterator[Record]:
    """Yield every outcome; columns `sample_id`, `prompt`, `eval_name`, `M`, `M|total_cost`.

    Output tokens are characters of `M|model_response` over four, where the file has it.

    Raises
    ------
    DataError
        If the file is a pickle, as it is published, or lacks a column.
    """
    for row in read_csv(path, ("sample_id", "prompt", "eval_name")):
        models = [name.removesuffix(_COST) for name in row if name.endswith(_COST)]
        if not models:
            raise DataError(f"{path}: has no MODEL{_COST} column")
        for model in models:
            where = f"{path}: sample {row['sample_id']}, {model}"
            if model not in row:
                raise DataError(f"{path}: column {model!r} is missing beside {model + _COST!r}")
            yield {
                "query_id": row["sample_id"],
                "prompt": unlisted(row["prompt"]),
                "model": model,
                "quality": number(where, row[model]),
                "cost_usd": number(where, row[model + _COST]),
                "output_tokens": tokens_of(row.get(model + _ANSWER)),
                "set": "routerbench",
                "benchmark": row["eval_name"],
            }
