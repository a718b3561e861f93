"""The decision log as files: one Parquet partition per day, written once, read by anybody.

Every file appears whole: it is written beside its place, put on the disk, then renamed. The same
row may be in two files, after a collector died between writing and telling Redis so; whoever reads
takes the first of equal decision ids.
"""

import dataclasses
import os
import shutil
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from app.outcomes.export import Log
from app.outcomes.old_rows import StoredRow
from app.outcomes.rows import ContentRow, Label, LabelKind, OutcomeRow
from routers.data.parquet_columns import check_size
from routers.errors import DataError
from routers.files import open_regular, shown

KINDS: dict[str, type] = {"outcomes": OutcomeRow, "labels": Label, "contents": ContentRow}
"""Folder → what is in its files."""

_Row = TypeVar("_Row")


def write_rows(folder: Path, kind: str, rows: Iterable[Any], *, name: str) -> int:
    """Write rows into the partitions of their days and put them on the disk; return how many.

    Parameters
    ----------
    kind
        One of `KINDS`. Texts lie in the partition of the day on which their time is over.
    name
        Of the new files; the same name replaces a file.
    """
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    days: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        at = row.expires_at if isinstance(row, ContentRow) else row.time
        # A label that was changed has two rows; of an outcome, the first one stays.
        key = f"{row.decision_id}/{row.time}" if isinstance(row, Label) else row.decision_id
        days[_day(at)].setdefault(key, row)
    schema = pa.schema(list(_columns(KINDS[kind])))
    for day, found in days.items():
        place = folder / kind / f"date={day}"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = place / f".{name}.partial"
        records = [{field: getattr(row, field) for field in schema.names} for row in found.values()]
        pq.write_table(pa.Table.from_pylist(records, schema=schema), partial, compression="zstd")
        partial.chmod(0o600)
        _sync(partial)
        partial.rename(place / f"{name}.parquet")
        _sync(place)
    return sum(len(found) for found in days.values())


def forget(folder: Path, *, keep_days: float, now: Callable[[], float] = time.time) -> list[str]:
    """Delete the partitions whose time is over; return their names.

    Parameters
    ----------
    keep_days
        Of outcomes and labels; texts go the day after their own time is over.
    """
    today = datetime.fromtimestamp(now(), UTC)
    oldest = {
        "outcomes": today - timedelta(days=keep_days),
        "labels": today - timedelta(days=keep_days),
        "contents": today,
    }
    gone = []
    for kind, moment in oldest.items():
        for place in sorted((folder / kind).glob("date=*")):
            if place.name.removeprefix("date=") < moment.date().isoformat():
                shutil.rmtree(place)
                gone.append(f"{kind}/{place.name}")
    return gone


def collected_log(folder: Path, *, since: float, until: float) -> Log:
    """Read what was collected.

    Raises
    ------
    DataError
        If there is nothing, or a file cannot be read.
    """
    if not (folder / "outcomes").is_dir():
        raise DataError(f"{folder}: holds no outcomes; `steelyard collect --out` writes them")
    newest = {
        (label.decision_id, label.other_decision_id): label
        for label in sorted(_read(folder, "labels", Label), key=lambda label: label.time)
    }
    return Log(
        outcomes=_unique(folder, since=since, until=until),
        labels=[
            dataclasses.replace(label, kind=LabelKind(label.kind)) for label in newest.values()
        ],
        contents=_Contents(folder),
    )


class _Contents:
    """Texts by decision, those whose time is over left out."""

    def __init__(self, folder: Path) -> None:
        now = time.time()
        self._texts = {
            row.decision_id: row.content
            for row in _read(folder, "contents", ContentRow)
            if row.expires_at > now
        }

    def get(self, decision_id: str) -> bytes | None:
        """Return the texts of a decision as JSON, or None."""
        return self._texts.get(decision_id)

    def close(self) -> None:
        """Forget them."""
        self._texts.clear()


def _unique(folder: Path, *, since: float, until: float) -> Iterator[OutcomeRow]:
    seen = set()
    rows = [row for row in _read(folder, "outcomes", StoredRow) if since <= row.time < until]
    for row in sorted(rows, key=lambda row: row.time):
        if row.decision_id not in seen:
            seen.add(row.decision_id)
            yield row.current()


def _read(folder: Path, kind: str, row_type: type[_Row]) -> Iterator[_Row]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    for path in sorted((folder / kind).glob("date=*/*.parquet")):
        try:
            open_regular(path).close()
            with pq.ParquetFile(path) as file:
                check_size(path, file.metadata)
                records: Sequence[dict[str, Any]] = file.read().to_pylist()
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise DataError(f"{path}: cannot be read as parquet ({shown(str(error))})") from error
        try:
            for record in records:
                yield msgspec.convert(record, row_type, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise DataError(f"{path}: holds no {kind} ({shown(str(error))})") from error


def _columns(row_type: type) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa  # noqa: PLC0415

    of = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    of |= {bytes: pa.binary(), LabelKind: pa.string()}
    for name, hint in get_type_hints(row_type).items():
        kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        yield name, next(of[kind] for kind in kinds if kind is not types.NoneType)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
