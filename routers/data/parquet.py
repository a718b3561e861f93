"""Wide parquet: one row per query, columns `q:M`, `c:M` and `t:M` per model M."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.jsonl import gather
from routers.data.messages import (
    conversation_key,
    documents_key,
    read_documents,
    read_judged,
    read_messages,
)
from routers.data.parquet_columns import (
    GROUP_COLUMNS,
    column_values,
    number_columns,
    read_columns,
    sample_of,
    schema_names,
    text_column,
)
from routers.data.part import Part, Queries
from routers.data.recognise import advice
from routers.errors import DataError
from routers.files import repaired, shown
from routers.numeric import nan_mean
from routers.types import Conversation

_QUALITY, _COST, _TOKENS = "q:", "c:", "t:"


_LONG = (
    *("query_id", "prompt", "messages", "query", "documents", "decision_model", *GROUP_COLUMNS),
    *("model", "quality", "quality_without"),
    *("input_tokens", "output_tokens", "cost_usd"),
)
"""Columns of a table with one outcome a row."""

_QUERY_COLUMNS = (
    *("query_id", "prompt", "messages", "query", "documents", "decision_model"),
    *GROUP_COLUMNS,
)


def read_queries(path: Path) -> Queries:
    """Read the queries of a wide parquet file and nothing of its outcomes.

    Raises
    ------
    DataError
        If the file cannot be read, or `query_id` or `prompt` is missing or not text.
    """
    names = schema_names(path)
    for required in ("query_id", "prompt"):
        if required not in names:
            raise DataError(
                f"{path}: column {required!r} is missing; a wide table needs query_id, prompt "
                f"and q:MODEL columns{advice(path, names)}"
            )
    wanted = [name for name in _QUERY_COLUMNS if name in names]
    table = read_columns(path, wanted)
    if table.num_rows == 0:
        raise DataError(f"{path}: has no rows")
    ids = tuple(text_column(path, table, "query_id"))
    billed = [Conversation.of(prompt) for prompt in text_column(path, table, "prompt")]
    if "messages" in names:
        for row, text in enumerate(column_values(path, table["messages"])):
            if text is not None:
                billed[row] = _conversation(f"{path}: row {row}", text)
    prompts = tuple(conversation_key(conversation) for conversation in billed)
    embedded = billed
    if "query" in names:
        absent = table["query"].is_null().to_pylist()
        texts = text_column(path, table, "query", missing=prompts)
        embedded = [
            whole if missing else Conversation.of(text)
            for text, missing, whole in zip(texts, absent, billed, strict=True)
        ]
    if "documents" in names:
        brought = [
            read_documents(f"{path}: row {row}", value)
            for row, value in enumerate(column_values(path, table["documents"]))
        ]
        prompts = tuple(
            prompt + documents_key(more) for prompt, more in zip(prompts, brought, strict=True)
        )
        billed, embedded = (
            [replace(each, documents=more) for each, more in zip(told, brought, strict=True)]
            for told in (billed, embedded)
        )
    if "decision_model" in names:
        embedded = [
            replace(each, judged=read_judged(f"{path}: row {row}", value))
            for row, (each, value) in enumerate(
                zip(embedded, column_values(path, table["decision_model"]), strict=True)
            )
        ]
    labels = [column_values(path, table[name]) for name in GROUP_COLUMNS if name in names]
    groups = (
        tuple(
            "/".join(str(part) for part in row if part is not None)
            for row in zip(*labels, strict=True)
        )
        if labels
        else ("",) * len(ids)
    )
    return Queries(
        query_ids=ids,
        prompts=prompts,
        conversations=tuple(embedded),
        billed=tuple(billed),
        groups=groups,
    )


def read_parquet(path: Path) -> Part:
    """Read a wide parquet file of outcomes.

    Raises
    ------
    DataError
        If it cannot be read or a column is missing, of the wrong type or out of range.
    """
    names = schema_names(path)
    graded = [name.removeprefix(_QUALITY) for name in names if name.startswith(_QUALITY)]
    models = [name for name in graded if not sample_of(name, graded)[1]]
    if not models and {"model", "quality"} <= set(names):
        return gather(str(path), _records(path, names), ids_needed=False)
    queries = read_queries(path)
    if not models:
        raise DataError(
            f"{path}: has no q:MODEL column, so there is no quality to learn from"
            f"{advice(path, names)}"
        )
    stray = [name for name in names if name.startswith((_COST, _TOKENS)) and name[2:] not in graded]
    if stray:
        raise DataError(f"{path}: column {stray[0]!r} has no {_QUALITY + stray[0][2:]!r} beside it")
    table = read_columns(path, [name for name in names if name[:2] in (_QUALITY, _COST, _TOKENS)])
    quality = number_columns(path, table, _QUALITY, models, high=1.0)
    samples = _samples(path, table, graded, models)
    if samples is not None:
        samples[:, :, 0] = quality
        quality = nan_mean(np.moveaxis(samples, 2, 0), default=np.nan)
    return Part(
        query_ids=queries.query_ids,
        prompts=queries.prompts,
        conversations=queries.conversations,
        billed=queries.billed,
        input_tokens=(None,) * len(queries.query_ids),
        groups=queries.groups,
        models=tuple(models),
        quality=quality,
        output_tokens=number_columns(path, table, _TOKENS, models),
        cost_usd=number_columns(path, table, _COST, models),
        samples=samples,
    )


def _records(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a table with one outcome a row."""
    table = read_columns(path, [name for name in _LONG if name in names])
    if table.num_rows == 0:
        raise DataError(f"{path}: has no rows")
    columns = {name: column_values(path, table[name]) for name in table.column_names}
    for row in range(table.num_rows):
        record = {name: values[row] for name, values in columns.items()}
        where = f"{path}: row {row}"
        known = {
            name: _plain(value)
            for name, value in record.items()
            if value is not None or name == "quality"
        }
        if "messages" in known:
            known.pop("prompt", None)
            if isinstance(known["messages"], str):
                known["messages"] = _json(where, known["messages"])
        yield where, known


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _samples(
    path: Path, table: Any, graded: Sequence[str], models: Sequence[str]
) -> np.ndarray | None:
    """Return what further answers were worth, (n_queries, n_models, n); None without any."""
    which = [(name, *sample_of(name, graded)) for name in graded]
    most = max(number for _, _, number in which)
    if not most:
        return None
    found = np.full((table.num_rows, len(models), most + 1), np.nan)
    for name, model, number in which:
        if number:
            worth = number_columns(path, table, _QUALITY, [name], high=1.0)[:, 0]
            found[:, models.index(model), number] = worth
    return found


def _conversation(where: str, text: object) -> Conversation:
    if isinstance(text, list):  # kept as a list of structures
        return read_messages(where, repaired(text))
    return read_messages(where, _json(where, text))


def _json(where: str, text: object) -> Any:
    try:
        return repaired(json.loads(text if isinstance(text, str) else ""))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}, column 'messages' is no JSON ({shown(str(error))})") from error
