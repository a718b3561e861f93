"""Spending from the files that `steelyard collect` writes, a day at a time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.errors import ConfigError
from app.outcomes.calls import known_nusd
from app.spend.question import (
    COLUMNS,
    TIMES,
    Amounts,
    Dimension,
    Group,
    Overdue,
    Question,
    SourceError,
    time_text,
)
from app.spend.rows import SpendRow, add_up
from routers.media.arms import VARIANT_MARK

_TEXTS = (
    "decision_id",
    *(name for each, name in COLUMNS.items() if each is not Dimension.ROLE),
    *("error", "cache", "calls", "attempts"),
)
_COUNTS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nusd",
    "scorer_cost_nusd",
    "status",
)
_OF_CALLS = frozenset({Dimension.ROLE, Dimension.MODEL, Dimension.UPSTREAM})
_STEP_S = {Dimension.HOUR: 3600, Dimension.DAY: 86_400, Dimension.MONTH: 86_400}


class ParquetSpend:
    """Add up what was collected into a folder; needs pyarrow."""

    name = "parquet"
    covers: str | None = "what `steelyard collect` has taken; the latest rows may still be in Redis"

    def __init__(self, folder: Path) -> None:
        if not (folder / "outcomes").is_dir():
            raise ConfigError(f"{folder}: holds no outcomes; `steelyard collect --out` writes them")
        self._folder = folder

    def read(self, question: Question, *, deadline: float) -> dict[Group, Amounts]:
        """Add the rows of each day up; the memory of one day is needed at a time."""
        try:
            import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
        except ImportError as error:
            raise ConfigError(
                "reading collected files needs pyarrow: install steelyard[train]"
            ) from error
        found: dict[Group, Amounts] = {}
        for place in self._days(question):
            if time.monotonic() > deadline:
                raise Overdue
            try:
                for group, amounts in _added_up(place, question, deadline=deadline):
                    found.setdefault(group, Amounts()).add(amounts)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{place}: cannot be read as parquet ({error})") from error
            if len(found) > question.most_groups:
                raise question.too_many()
        return found

    def _days(self, question: Question) -> Iterator[Path]:
        first = _day(question.since)
        last = _day(question.until)
        for place in sorted((self._folder / "outcomes").glob("date=*")):
            if first <= place.name.removeprefix("date=") <= last:
                yield place


def _added_up(
    place: Path, question: Question, *, deadline: float
) -> Iterator[tuple[Group, Amounts]]:
    import pyarrow.compute as pc  # noqa: PLC0415

    table = _wanted(_table(place), question)
    if not len(table):
        return
    if question.is_of_calls:
        rows = (msgspec.convert(record, SpendRow) for record in table.to_pylist())
        yield from add_up(rows, question, deadline=deadline).items()
        return
    keys = []
    for dimension in question.by:
        keys.append(COLUMNS.get(dimension, dimension.value))
        if dimension in TIMES:
            steps = pc.floor(pc.divide(table["time"], float(_STEP_S[dimension])))
            table = table.append_column(dimension.value, pc.cast(steps, "int64"))
        elif dimension is Dimension.BASE_MODEL:
            base = pc.replace_substring_regex(table["model"], f"{VARIANT_MARK}.*", "")
            table = table.append_column(dimension.value, base)
    names = Amounts.__struct_fields__
    for name, values in _measures(table).items():
        table = table.append_column(f"sum_{name}", pc.cast(values, "int64"))
    sums = [f"sum_{name}" for name in names]
    if not keys:
        total = {name: pc.sum(table[each]).as_py() for name, each in zip(names, sums, strict=True)}
        yield (), Amounts(**total)
        return
    grouped = table.group_by(keys).aggregate([(each, "sum") for each in sums])
    for record in grouped.to_pylist():
        group = tuple(
            time_text(each, record[each.value] * _STEP_S[each])
            if each in TIMES
            else record[COLUMNS.get(each, each.value)]
            for each in question.by
        )
        values = {name: record[f"{each}_sum"] for name, each in zip(names, sums, strict=True)}
        yield group, Amounts(**values)


def _measures(table: Any) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    def number(name: str) -> Any:
        return pc.fill_null(table[name], 0)

    unknown = pc.is_null(table["cost_nusd"]).combine_chunks()
    known = [known_nusd(text) for text in table["calls"].filter(unknown).to_pylist()]
    paid = pc.replace_with_mask(
        table["cost_nusd"].combine_chunks(), unknown, pa.array(known, pa.int64())
    )
    cost = pc.add(paid, number("scorer_cost_nusd"))
    estimated = pc.fill_null(table["estimated"], fill_value=False)
    unpriced = pc.and_(pc.is_null(table["cost_nusd"]), pc.is_valid(table["input_tokens"]))
    return {
        "requests": pc.is_valid(table["time"]),
        "failed_requests": pc.or_(
            pc.greater_equal(number("status"), 400), pc.is_valid(table["error"])
        ),
        "cached_answers": pc.equal(pc.fill_null(table["cache"], ""), "hit"),
        "input_tokens": number("input_tokens"),
        "cached_input_tokens": number("cached_input_tokens"),
        "cache_write_tokens": number("cache_write_tokens"),
        "output_tokens": number("output_tokens"),
        "reasoning_tokens": number("reasoning_tokens"),
        "cost_nusd": cost,
        "unpriced_requests": unpriced,
        "estimated_requests": estimated,
        "estimated_cost_nusd": pc.if_else(estimated, cost, 0),
    }


def _table(place: Path) -> Any:
    """Return what is needed of the rows of a day, each decision once."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema(
        [
            *((name, pa.string()) for name in _TEXTS),
            *((name, pa.int64()) for name in _COUNTS),
            ("time", pa.float64()),
            ("estimated", pa.bool_()),
        ]
    )
    tables = []
    for path in sorted(place.glob("*.parquet")):
        file = pq.ParquetFile(path)
        columns = set(file.schema_arrow.names)
        there = [name for name in schema.names if name in columns]
        read = file.read(columns=there)
        # What an earlier release did not write is not known.
        tables.append(
            pa.table(
                {
                    field.name: read[field.name].cast(field.type)
                    if field.name in there
                    else pa.nulls(len(read), field.type)
                    for field in schema
                }
            )
        )
    if not tables:
        return schema.empty_table()
    table = pa.concat_tables(tables)
    if len(tables) == 1:
        return table
    numbered = table.select(["decision_id"]).append_column("row", pa.array(range(len(table))))
    firsts = numbered.group_by("decision_id").aggregate([("row", "min")])
    return table.take(firsts["row_min"])


def _wanted(table: Any, question: Question) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    mask = pc.and_(
        pc.greater_equal(table["time"], question.since), pc.less(table["time"], question.until)
    )
    for dimension, value in question.only.items():
        if question.is_of_calls and dimension in _OF_CALLS:
            continue  # each call says it itself
        mask = pc.and_(mask, pc.fill_null(pc.equal(table[COLUMNS[dimension]], value), False))
    return table.filter(mask)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
