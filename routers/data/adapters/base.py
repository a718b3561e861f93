"""The adapter seam: a published file in, records of our own JSONL formats out.

An adapter is a module of this folder with a function `records(path)`; its file name, with
hyphens for underscores, is its kind. Records are outcomes (`query_id`, `prompt` or `messages`,
`model`, `quality`, ...) or preferences (`query_id`, `prompt`, `model_a`, `model_b`, `winner`).
"""

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from routers.data.csv_file import csv_rows, header
from routers.data.lines import json_lines
from routers.data.parquet_columns import check_size
from routers.data.recognise import advice
from routers.errors import DataError, RoutingConfigError
from routers.files import open_regular, shown, shown_bytes, shown_value

Record = Mapping[str, Any]
Records = Callable[[Path], Iterable[Record]]

CHARS_PER_TOKEN = 4
_BATCH_ROWS = 64
_MAX_BATCH_BYTES = 256 * 2**20


def kinds() -> tuple[str, ...]:
    """Return the names of all adapters."""
    import routers.data.adapters as package  # noqa: PLC0415  (it contains this module)

    modules = pkgutil.iter_modules(package.__path__)
    return tuple(sorted(m.name.replace("_", "-") for m in modules if m.name != "base"))


def adapter(kind: str) -> Records:
    """Return the function that reads files of a kind.

    Raises
    ------
    RoutingConfigError
        If there is no such kind; the message lists all.
    """
    if kind not in kinds():
        raise RoutingConfigError(f"unknown format {kind!r}; known: {', '.join(kinds())}")
    module = importlib.import_module(f"routers.data.adapters.{kind.replace('-', '_')}")
    records: Records = module.records
    return records


def read_csv(path: Path, required: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file with a header.

    Raises
    ------
    DataError
        If it cannot be read, is a pickle, or lacks a column.
    """
    refuse_pickle(path)
    names = header(path)
    missing = [name for name in required if name not in names]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing{advice(path, names)}")
    for _, row in csv_rows(path):
        yield row


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet or JSONL file as plain values.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    refuse_pickle(path)
    if path.suffix.lower() != ".parquet":
        for _, record in json_lines(path):
            yield record
        return
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            check_size(path, file.metadata)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                if batch.nbytes > _MAX_BATCH_BYTES:
                    raise DataError(
                        f"{path}: {_BATCH_ROWS} of its rows take over "
                        f"{shown_bytes(_MAX_BATCH_BYTES)}"
                    )
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({shown(str(error))})") from error


def refuse_pickle(path: Path) -> None:
    """Refuse a file that runs code when it is read.

    Raises
    ------
    DataError
        If it is a pickle; the message says how to turn it into something else.
    """
    try:
        with open_regular(path) as file:
            start = file.read(2)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() in (".pkl", ".pickle") or (
        start[:1] == b"\x80" and start[1:] <= b"\x05"
    ):
        raise DataError(
            f"{path}: is a pickle, which may run any code when it is read; where you trust its "
            "source, turn it into CSV with pandas.read_pickle(...).to_csv(..., index=False) in an "
            "environment of its own, and convert that"
        )


def number(where: str, value: Any) -> float | None:
    """Return a number, None for an empty field.

    Raises
    ------
    DataError
        If it is something else.
    """
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: {shown_value(value)} is not a number") from None
    return None if math.isnan(found) else found


def tokens_of(text: str | None) -> float | None:
    """Estimate the tokens of an answer by its characters; None without one."""
    return None if text is None else float(round(len(text) / CHARS_PER_TOKEN))
