"""CodeRouterBench (arXiv:2606.22902): a table of results, and the tasks in a file beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from routers.data.adapters.base import Record, number, read_csv
from routers.data.lines import json_lines
from routers.errors import DataError

_PROMPT = ("prompt", "problem_statement", "instruction", "question")


def records(path: Path) -> Iterator[Record]:
    """Yield every outcome of `*_results_long.csv`; prompts stand in `*_tasks.jsonl` beside it.

    Columns are `task_id`, `model`, `score` (or `resolved`), and where known `dimension`,
    `cost_usd`, `input_tokens` and `output_tokens` (or `in_tok` and `out_tok`).

    Raises
    ------
    DataError
        If a file cannot be read, or a task has no prompt.
    """
    tasks = path.with_name(path.name.replace("_results_long.csv", "_tasks.jsonl"))
    if tasks == path:
        raise DataError(f"{path}: give the file ..._results_long.csv")
    prompts: dict[str, str] | None = None
    for i, row in enumerate(read_csv(path, ("task_id", "model"))):
        where = f"{path}: row {i}"
        prompts = _prompts(tasks) if prompts is None else prompts
        task = row["task_id"]
        if task not in prompts:
            raise DataError(
                f"{tasks}: has no prompt of the task {task!r}; where the release tells none, take "
                "it from the benchmark of the task and write it there as 'prompt'"
            )
        yield {
            "query_id": task,
            "prompt": prompts[task],
            "model": row["model"],
            "quality": _first(where, row, ("score", "resolved")),
            "input_tokens": _first(where, row, ("input_tokens", "in_tok")),
            "output_tokens": _first(where, row, ("output_tokens", "out_tok")),
            "cost_usd": _first(where, row, ("cost_usd",)),
            "set": "coderouterbench",
            "benchmark": row.get("dimension") or row.get("bench") or "unknown",
        }


def _prompts(tasks: Path) -> dict[str, str]:
    found = {}
    for _, task in json_lines(tasks):
        texts = [task[name] for name in _PROMPT if isinstance(task.get(name), str) and task[name]]
        if texts:
            found[str(task.get("task_id"))] = texts[0]
    return found


def _first(where: str, row: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    known = [value for name in names if (value := number(where, row.get(name))) is not None]
    return known[0] if known else None
