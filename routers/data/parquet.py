"""Wide parquet: one row per query, columns `q:M`, `c:M` and `t:M` per model M."""

import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
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
from routers.data.part import Part, Queries
from routers.data.recognise import advice
from routers.data.values import TRUTHS, bounds_text, scale_hint
from routers.errors import DataError
from routers.files import open_regular, repaired, shown, shown_bytes, shown_value
from routers.numeric import nan_mean
from routers.types import Conversation

_QUALITY, _COST, _TOKENS = "q:", "c:", "t:"

MAX_ROWS = 2_000_000
MAX_BYTES = 4 * 2**30
MAX_CHARS = 2**31
"""What a file of data may hold: more than a router learns from, and fits into a machine."""


_GROUP_COLUMNS = ("set", "benchmark", "subset")
_SAMPLE = re.compile("[2-9]|[1-9][0-9]", re.ASCII)
"""The number of a further answer of one model to one query."""
_TEXTS = frozenset({"prompt", "messages", "query", *_GROUP_COLUMNS})
_LONG = (
    *("query_id", "prompt", "messages", "query", "documents", "decision_model", *_GROUP_COLUMNS),
    *("model", "quality", "quality_without"),
    *("input_tokens", "output_tokens", "cost_usd"),
)
"""Columns of a table with one outcome a row."""

_QUERY_COLUMNS = (
    *("query_id", "prompt", "messages", "query", "documents", "decision_model"),
    *_GROUP_COLUMNS,
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
        for row, text in enumerate(_values(path, table["messages"])):
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
            for row, value in enumerate(_values(path, table["documents"]))
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
                zip(embedded, _values(path, table["decision_model"]), strict=True)
            )
        ]
    labels = [_values(path, table[name]) for name in _GROUP_COLUMNS if name in names]
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
    columns = {name: _values(path, table[name]) for name in table.column_names}
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


def schema_names(path: Path) -> list[str]:
    """Return the names of the columns.

    Raises
    ------
    DataError
        If the file cannot be read, or a column occurs twice.
    """
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        open_regular(path).close()
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({shown(str(error))})") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} occurs twice")
    return names


def read_columns(path: Path, columns: Sequence[str]) -> Any:
    """Return some columns as a table of pyarrow's.

    Raises
    ------
    DataError
        If the file cannot be read, or is too large.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        # Texts that a file holds once are kept once, however many rows have them; lists are not.
        schema = pq.read_schema(path)
        texts = [
            name
            for name in columns
            if name in _TEXTS and not pa.types.is_nested(schema.field(name).type)
        ]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            check_size(path, file.metadata)
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({shown(str(error))})") from error


def check_size(path: Path, metadata: Any) -> None:
    """Refuse a parquet file by what it says of its size, before any of it is read.

    Raises
    ------
    DataError
        If it has too many rows, or would take too much memory.
    """
    if metadata.num_rows > MAX_ROWS:
        raise DataError(
            f"{path}: has {metadata.num_rows} rows, more than {MAX_ROWS}; take a sample of it"
        )
    n_bytes = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if not 0 <= n_bytes <= MAX_BYTES:
        raise DataError(
            f"{path}: would take {shown_bytes(n_bytes)}, more than {shown_bytes(MAX_BYTES)}; take "
            "a sample of it"
        )


def _values(path: Path, column: Any) -> list[Any]:
    """Return a column as plain values; those of a dictionary are made once."""
    import pyarrow as pa  # noqa: PLC0415

    values: list[Any] = []
    try:
        for chunk in column.chunks:
            if not pa.types.is_dictionary(chunk.type):
                values += chunk.to_pylist()
                continue
            known = chunk.dictionary.to_pylist()
            values += [None if i is None else known[i] for i in chunk.indices.to_pylist()]
    except (pa.ArrowException, ValueError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({shown(str(error))})") from error
    n_chars = sum(len(value) for value in values if isinstance(value, str))
    if n_chars > MAX_CHARS:
        raise DataError(
            f"{path}: its rows hold {n_chars} characters together, more than {MAX_CHARS}; take a "
            "sample of it"
        )
    return values


def optional_texts(path: Path, table: Any, name: str) -> list[str | None]:
    """Return a column of texts or nothing.

    Raises
    ------
    DataError
        If it holds anything else.
    """
    values = _values(path, table[name])
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise _no_text(path, row, name, value)
    return values


def text_column(
    path: Path, table: Any, name: str, *, missing: Sequence[str] | None = None
) -> list[str]:
    """Return a text column; absent values are taken from `missing`, or refused without it.

    Raises
    ------
    DataError
        If it holds anything else; whole numbers may stand for ids.
    """
    values = _values(path, table[name])
    for row, value in enumerate(values):
        if value is None and missing is not None:
            values[row] = missing[row]
        elif name == "query_id" and isinstance(value, int):
            values[row] = str(value)
        elif not isinstance(value, str):
            raise _no_text(path, row, name, value)
    return list(values)


def _no_text(path: Path, row: int, name: str, value: object) -> DataError:
    return DataError(
        f"{path}: row {row}, column {name!r} holds {shown_value(value)} instead of text"
    )


def number_columns(
    path: Path,
    table: Any,
    prefix: str,
    models: Sequence[str],
    *,
    low: float = 0.0,
    high: float = np.inf,
) -> np.ndarray:
    """Return float64 (n_queries, n_models) of one column family, NaN where it is absent.

    Raises
    ------
    DataError
        If a column holds anything but numbers from `low` to `high`.
    """
    out = np.full((table.num_rows, len(models)), np.nan)
    for column, model in enumerate(models):
        name = prefix + model
        if name not in table.column_names:
            continue
        values = _values(path, table[name])
        if high == 1:
            values = [
                TRUTHS.get(value.strip().casefold(), value) if isinstance(value, str) else value
                for value in values
            ]
        try:
            out[:, column] = np.asarray(
                [np.nan if value is None else value for value in values], dtype=np.float64
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: column {name!r} holds something other than numbers"
            ) from error
        wrong = np.flatnonzero((out[:, column] < low) | (out[:, column] > high))
        wrong = np.union1d(wrong, np.flatnonzero(np.isinf(out[:, column])))
        if len(wrong):
            raise DataError(
                f"{path}: row {wrong[0]}, column {name!r} is {out[wrong[0], column]:g}; "
                f"it must be {bounds_text(low, high)}"
                + (scale_hint(float(out[wrong[0], column])) if high == 1 else "")
            )
    return out


def sample_of(name: str, names: Collection[str]) -> tuple[str, int]:
    """Return whose answer a column is about, and which one: `M#2` is the second of M, number 1.

    A model whose own name ends like that is known by there being no column of the shorter name.
    """
    model, _, number = name.rpartition("#")
    if model in names and _SAMPLE.fullmatch(number):
        return model, int(number) - 1
    return name, 0
