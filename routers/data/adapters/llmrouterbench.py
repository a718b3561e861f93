"""LLMRouterBench (arXiv:2601.07206): a JSON file per data set and model, in a tree of folders."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record, number
from routers.errors import DataError
from routers.files import read_regular, shown, shown_value

_MAX_BYTES = 2**30


def records(path: Path) -> Iterator[Record]:
    """Yield every outcome of one result file, or of a folder `bench/<set>/<split>/<model>/*.json`.

    Data set and model are what the file says (`dataset_name`, `model_name`), else its folders. Of
    several results of one model on one split the last counts, by its name, which is a time.

    Raises
    ------
    DataError
        If a file cannot be read, or there is none.
    """
    files = {file.parent: file for file in sorted(path.rglob("*.json"))} if path.is_dir() else {}
    if path.is_dir() and not files:
        raise DataError(f"{path}: holds no result file (bench/<set>/<split>/<model>/<time>.json)")
    for file in files.values() or (path,):
        content = _content(file)
        model = str(content.get("model_name") or file.parent.name)
        data_set = str(content.get("dataset_name") or file.parent.parent.parent.name)
        for i, record in enumerate(content["records"]):
            where = f"{file}: record {i}"
            prompt = record.get("prompt") or record.get("origin_query")
            if not isinstance(prompt, str):
                raise DataError(f"{where}: 'prompt' must be a text, got {shown_value(prompt)}")
            yield {
                "query_id": f"{data_set}-{record.get('index', i)}",
                "prompt": prompt,
                "model": model,
                "quality": number(where, record.get("score")),
                "input_tokens": number(where, record.get("prompt_tokens")),
                "output_tokens": number(where, record.get("completion_tokens")),
                "cost_usd": number(where, record.get("cost")),
                "set": "llmrouterbench",
                "benchmark": data_set,
            }


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(read_regular(file, most_bytes=_MAX_BYTES))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not valid JSON ({shown(str(error))})") from error
    found = content.get("records") if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DataError(f"{file}: has no list of 'records'")
    return dict(content)
