"""Outcome data of several files as one table: what each model made of each query."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from routers.base import Comparisons, Labels
from routers.data.csv_file import read_csv_part
from routers.data.jsonl import gather, read_jsonl
from routers.data.lines import json_items
from routers.data.opening import suffix_of
from routers.data.parquet import read_parquet
from routers.data.part import Part
from routers.data.preferences import has_preferences, read_preferences
from routers.errors import DataError
from routers.files import open_regular, repaired, shown_value
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation, FloatMatrix


def _read_lines(path: Path) -> Part:
    return read_preferences(path) if has_preferences(path) else read_jsonl(path)


def _read_document(path: Path) -> Part:
    return gather(str(path), json_items(path), ids_needed=False)


_READERS = {
    ".parquet": read_parquet,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_document,
    ".csv": read_csv_part,
    ".tsv": read_csv_part,
}
_PACKED = frozenset(_READERS) - {".parquet"}
_OFFICE = frozenset({".xlsx", ".xls", ".ods"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One file that went into a table."""

    name: str
    sha256: str
    n_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTable:
    """Queries, models and what came of every attempt; arrays are (n_queries, n_models).

    Attributes
    ----------
    conversations
        The text to embed.
    input_tokens
        (n_queries,): as reported where a file tells, else estimated on the whole prompt.
    quality
        In [0, 1]; NaN where a model was not tried.
    output_tokens, cost_usd
        NaN where unknown.
    groups
        `set/benchmark` of each query as far as the files tell, else empty.
    comparisons
        Comparisons of two models, where a file holds such. The queries of these are rows of their
        own, after those of outcomes: a share of battles won is no graded answer.
    samples
        float32 (n_queries, n_models, n_samples): the outcomes behind `quality`, NaN where there
        are fewer; None where no model answered a query twice.
    """

    query_ids: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    models: tuple[str, ...]
    input_tokens: np.ndarray
    quality: FloatMatrix
    output_tokens: FloatMatrix
    cost_usd: np.ndarray
    groups: tuple[str, ...]
    files: tuple[DataFile, ...]
    comparisons: Comparisons | None = None
    samples: FloatMatrix | None = None

    def __len__(self) -> int:
        return len(self.query_ids)

    def rows(self, index: np.ndarray) -> "OutcomeTable":
        """Return some of the queries, in the order of `index`."""
        comparisons, samples = self.comparisons, self.samples
        return replace(
            self,
            query_ids=tuple(self.query_ids[i] for i in index),
            conversations=tuple(self.conversations[i] for i in index),
            input_tokens=self.input_tokens[index],
            quality=self.quality[index],
            output_tokens=self.output_tokens[index],
            cost_usd=self.cost_usd[index],
            groups=tuple(self.groups[i] for i in index) if self.groups else (),
            comparisons=None if comparisons is None else comparisons.of_rows(index),
            samples=None if samples is None else samples[index],
        )

    @property
    def labels(self) -> Labels:
        """The targets of a router."""
        silent = bool(np.isnan(self.output_tokens).all())
        return Labels(
            models=self.models,
            quality=self.quality,
            output_tokens=None if silent else self.output_tokens,
            groups=self.groups,
            comparisons=self.comparisons,
            samples=self.samples,
            input_tokens=self.input_tokens,
        )


def read_outcomes(paths: Sequence[Path]) -> OutcomeTable:
    """Read wide parquet files, or JSONL files of outcomes or of preferences, and join them.

    Models are the union over all files. Rows of the same `query_id` and prompt become one row;
    repeated outcomes of one model on one query are averaged. Preferences stay apart from outcomes.

    Raises
    ------
    DataError
        If a file cannot be read, has the wrong shape or an impossible value, or a model has no
        outcome at all; the message names the file, the place and what to do.
    """
    if not paths:
        raise DataError("no data file given")
    parts = [(_file_of(path), _read(path)) for path in paths]
    files = tuple(
        DataFile(name=repaired(path.name), sha256=digest, n_rows=len(part.query_ids))
        for (path, digest), part in parts
    )
    return _join([part for _, part in parts], files)


def table_of_records(records: Sequence[Any]) -> OutcomeTable:
    """Make a table of outcomes in memory: mappings with the keys of JSON lines, or of wide rows.

    Numbers of numpy count as numbers, and those that are none (NaN) as nothing, as data frames
    have it; records without `query_id` are of one query where their prompts are equal.

    Raises
    ------
    DataError
        If a record cannot be understood; the message has its number.
    """
    part = gather("records", _plain_records(records), ids_needed=False)
    name = DataFile(name="records", sha256="", n_rows=len(part.query_ids))
    return _join([part], (name,))


def _plain_records(records: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, record in enumerate(records):
        where = f"record {number}"
        if not isinstance(record, Mapping):
            raise DataError(f"{where}: must be a mapping, got {shown_value(record)}")
        plain: dict[str, Any] = {}
        for name, value in record.items():
            if isinstance(value, np.generic):
                value = value.item()  # noqa: PLW2901  (of the same value)
            nothing = isinstance(value, float) and math.isnan(value)
            plain[str(name)] = None if nothing else value
        yield where, plain


def _file_of(path: Path) -> tuple[Path, str]:
    try:
        with open_regular(path) as file:
            return path, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _read(path: Path) -> Part:
    suffix = suffix_of(path)
    reader = _READERS.get(suffix)
    packed = path.suffix.lower() == ".gz"
    if suffix in _OFFICE:
        raise DataError(f"{path}: is a workbook; save the sheet as CSV (Excel: CSV UTF-8)")
    if reader is None or (packed and suffix not in _PACKED):
        raise DataError(
            f"{path}: unknown kind of file; give tables as .parquet or .csv, one outcome per line "
            "as .jsonl (text also packed, as .gz); steelyard data convert reads published formats"
        )
    return reader(path)


def _join(parts: Sequence[Part], files: tuple[DataFile, ...]) -> OutcomeTable:
    parts = sorted(parts, key=_holds_battles)
    models = tuple(dict.fromkeys(model for part in parts for model in part.models))
    row_of: dict[tuple[bool, str, str], int] = {}
    firsts: list[tuple[Part, int]] = []
    rows_of: list[np.ndarray] = []
    for part in parts:
        rows = np.empty(len(part.query_ids), dtype=np.intp)
        for i, query in enumerate(zip(part.query_ids, part.prompts, strict=True)):
            key = (_holds_battles(part), *query)
            if key not in row_of:
                row_of[key] = len(firsts)
                firsts.append((part, i))
            rows[i] = row_of[key]
        rows_of.append(rows)
    shape = (len(firsts), len(models))
    column_of = {model: column for column, model in enumerate(models)}

    def mean_of(arrays: Iterable[np.ndarray]) -> np.ndarray:
        total, count = np.zeros(shape), np.zeros(shape)
        for part, rows, array in zip(parts, rows_of, arrays, strict=True):
            columns = np.asarray([column_of[model] for model in part.models])
            at = np.ix_(rows, columns)
            known = ~np.isnan(array)
            np.add.at(total, at, np.where(known, array, 0))
            np.add.at(count, at, known)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    quality = mean_of(part.quality for part in parts)
    silent = [model for model, column in column_of.items() if np.isnan(quality[:, column]).all()]
    if silent:
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{names}: no quality is known for {', '.join(silent)}; drop the column or add outcomes"
        )
    return OutcomeTable(
        query_ids=tuple(part.query_ids[i] for part, i in firsts),
        conversations=tuple(part.conversations[i] for part, i in firsts),
        models=models,
        input_tokens=np.asarray([_input_tokens(part, i) for part, i in firsts], np.float64),
        quality=quality.astype(np.float32),
        output_tokens=mean_of(part.output_tokens for part in parts).astype(np.float32),
        cost_usd=mean_of(part.cost_usd for part in parts),
        groups=tuple(part.groups[i] for part, i in firsts),
        files=files,
        comparisons=_comparisons(parts, rows_of, column_of),
        samples=_samples(parts, rows_of, column_of, len(firsts)),
    )


def _holds_battles(part: Part) -> bool:
    return part.comparisons is not None


def _comparisons(
    parts: Sequence[Part], rows_of: Sequence[np.ndarray], column_of: Mapping[str, int]
) -> Comparisons | None:
    """Join the comparisons; None where no file holds any."""
    joined: list[Comparisons] = []
    for part, rows in zip(parts, rows_of, strict=True):
        if part.comparisons is None:
            continue
        columns = np.asarray([column_of[model] for model in part.models], np.intp)
        each = part.comparisons
        joined.append(
            Comparisons(
                row=rows[each.row], a=columns[each.a], b=columns[each.b], outcome=each.outcome
            )
        )
    if not joined:
        return None
    return Comparisons(
        row=np.concatenate([each.row for each in joined]),
        a=np.concatenate([each.a for each in joined]),
        b=np.concatenate([each.b for each in joined]),
        outcome=np.concatenate([each.outcome for each in joined]),
    )


def _samples(
    parts: Sequence[Part],
    rows_of: Sequence[np.ndarray],
    column_of: Mapping[str, int],
    n_queries: int,
) -> FloatMatrix | None:
    """Gather repeated outcomes; None where there are none."""
    widths = [1 if part.samples is None else part.samples.shape[2] for part in parts]
    used = np.zeros(n_queries, np.intp)
    for rows, width in zip(rows_of, widths, strict=True):
        np.add.at(used, rows, width)
    most = int(used.max(initial=0))
    if most <= 1:
        return None
    out = np.full((n_queries, len(column_of), most), np.nan, np.float32)
    filled = np.zeros(n_queries, np.intp)
    for part, rows, width in zip(parts, rows_of, widths, strict=True):
        columns = [column_of[model] for model in part.models]
        values = part.quality[:, :, None] if part.samples is None else part.samples
        for i, row in enumerate(rows.tolist()):
            start = int(filled[row])
            out[row, columns, start : start + width] = values[i]
            filled[row] += width
    repeated = (~np.isnan(out)).sum(axis=2).max() > 1
    return out if repeated else None


def _input_tokens(part: Part, row: int) -> float:
    reported = part.input_tokens[row]
    if reported is not None:
        return reported
    billed = part.billed[row]
    return float(estimate_tokens(billed) + (0 if billed.media is None else billed.media.tokens))
