"""RouterArena (arXiv:2510.00202): the cached results of one model, graded, as JSONL.

The leaderboard refuses routers that were trained on its prompts: this is for evaluation.
"""

from collections.abc import Iterator
from pathlib import Path

from routers.data.adapters.base import Record, number
from routers.data.lines import json_lines
from routers.errors import DataError


def records(path: Path) -> Iterator[Record]:
    """Yield every graded outcome; keys `global_index`, `question`, `llm_selected`.

    The score and the cost stand in `evaluation_result`, tokens in `token_usage`. Lines without a
    score were not graded and are skipped.

    Raises
    ------
    DataError
        If a line lacks one of the keys, or none is graded.
    """
    graded = 0
    for where, row in json_lines(path):
        result, usage = row.get("evaluation_result") or {}, row.get("token_usage") or {}
        if not isinstance(result, dict) or not isinstance(usage, dict):
            raise DataError(f"{where}: 'evaluation_result' and 'token_usage' must be objects")
        score = number(where, result.get("score"))
        if score is None:
            continue
        graded += 1
        index = row.get("global_index", row.get("global index"))
        missing = [name for name in ("question", "llm_selected") if not row.get(name)]
        if missing or not isinstance(index, str):
            raise DataError(f"{where}: {(missing or ['global_index'])[0]!r} is missing")
        yield {
            "query_id": index,
            "prompt": row["question"],
            "model": row["llm_selected"],
            "quality": score,
            "input_tokens": number(where, usage.get("input_tokens")),
            "output_tokens": number(where, usage.get("output_tokens")),
            "cost_usd": number(where, result.get("inference_cost")),
            "set": "routerarena",
            "benchmark": index.rpartition("_")[0] or index,
        }
    if not graded:
        raise DataError(f"{path}: no line has an evaluation_result with a score")
