"""Columns of a Parquet file, bounded and checked."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.values import TRUTHS, bounds_text, scale_hint
from routers.errors import DataError
from routers.files import open_regular, shown, shown_bytes, shown_value

GROUP_COLUMNS = ("set", "benchmark", "subset")
TEXTS = frozenset({"prompt", "messages", "query", *GROUP_COLUMNS})

MAX_ROWS = 2_000_000
MAX_BYTES = 4 * 2**30
MAX_CHARS = 2**31
"""What a file of data may hold: more than a router learns from, and fits into a machine."""

_SAMPLE = re.compile("[2-9]|[1-9][0-9]", re.ASCII)
"""The number of a further answer of one model to one query."""


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
            if name in TEXTS and not pa.types.is_nested(schema.field(name).type)
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


def column_values(path: Path, column: Any) -> list[Any]:
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
    values = column_values(path, table[name])
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
    values = column_values(path, table[name])
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
        values = column_values(path, table[name])
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
