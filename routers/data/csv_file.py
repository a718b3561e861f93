"""CSV as spreadsheets and data frames write it: one row a query, or one row an outcome."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from routers.data.jsonl import gather
from routers.data.opening import open_text
from routers.data.part import Part
from routers.data.recognise import advice
from routers.data.values import MISSING, TRUTHS
from routers.errors import DataError
from routers.files import repaired, shown, shown_value

MAX_FIELD_CHARS = 16 * 2**20
"""Answers of models are long."""

_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""What spreadsheets are told of the delimiter by, in a first line."""

_NUMBERS = frozenset(
    {"quality", "quality_without", "input_tokens", "output_tokens", "cost_usd", "latency_s"}
)
_TEXTS = frozenset(
    {
        *("query_id", "prompt", "query", "messages", "documents", "decision_model"),
        *("model", "set", "benchmark", "subset", "answer"),
    }
)
_FAMILIES = ("q:", "c:", "t:", "l:")
_DIGITS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV file with a header, with the words that say where they stand.

    The delimiter is a comma, semicolon, tabulator or vertical bar, whichever makes most of the
    header; the text UTF-8, or UTF-16 with a byte order mark. Empty rows are skipped.

    Raises
    ------
    DataError
        If it cannot be read, or a row has more or fewer fields than the header.
    """
    for where, row, _ in _rows(path):
        yield where, row


def csv_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows as what lines of JSON would hold: numbers as numbers, empty fields left out.

    Numbers may have a decimal comma where commas do not part fields, qualities may be a
    percentage with its sign, or yes and no. `messages` is JSON, and counts where `prompt` is there
    as well.

    Raises
    ------
    DataError
        If the file cannot be read, or a field is no number where there has to be one.
    """
    for where, row, delimiter in _rows(path):
        record: dict[str, Any] = {}
        for name, text in row.items():
            if _is_number(name):
                record[name] = _number(where, name, text, comma=delimiter != ",")
            elif text or name == "prompt":  # a prompt may be empty; nothing else that is says much
                record[name] = text
        if "messages" in record:
            record.pop("prompt", None)
            try:
                record["messages"] = json.loads(record["messages"])
            except (ValueError, RecursionError):
                raise DataError(f"{where}: 'messages' is no JSON") from None
        yield where, record


def read_csv_part(path: Path) -> Part:
    """Read outcomes from a CSV file, one row a query (`q:MODEL` columns) or one row an outcome.

    Raises
    ------
    DataError
        If the file cannot be understood; the message names the place, and what would help.
    """
    names = header(path)
    if not _is_ours(names):
        missing = "'prompt'" if not {"prompt", "messages"} & set(names) else "'q:MODEL'"
        raise DataError(
            f"{path}: column {missing} is missing; a table needs prompt (or messages) and either "
            "q:MODEL columns (a row a query) or model and quality (a row an outcome); it has: "
            f"{shown(', '.join(names)) or 'nothing'}{advice(path, names)}"
        )
    told = [name[2:] for name in names if name.startswith("q:")]
    stray = [name for name in names if name[:2] in ("c:", "t:") and name[2:] not in told]
    if told and stray:
        raise DataError(f"{path}: column {stray[0]!r} has no 'q:{stray[0][2:]}' beside it")
    return gather(str(path), csv_records(path), ids_needed=False)


def header(path: Path) -> list[str]:
    """Return the names of the columns; empty where there is no first row.

    Raises
    ------
    DataError
        If the file cannot be read, or a column occurs twice.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    try:
        with open_text(path, utf16=True) as text:
            return _header(path, text)[0]
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV ({error})") from error


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str], str]]:
    csv.field_size_limit(MAX_FIELD_CHARS)
    try:
        with open_text(path, utf16=True) as text:
            names, delimiter, skipped = _header(path, text)
            reader = csv.reader(text, delimiter=delimiter)
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                where = f"{path}: line {skipped + reader.line_num}"
                if len(fields) != len(names):
                    raise DataError(
                        f"{where}: has too many or few fields ({len(fields)}, the header "
                        f"{len(names)}); texts with the delimiter in them stand in double quotes"
                    )
                pairs = zip(names, fields, strict=True)
                yield where, {name: repaired(field) for name, field in pairs if name}, delimiter
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV ({error})") from error


def _header(path: Path, text: TextIO) -> tuple[list[str], str, int]:
    """Return the names of the columns, the delimiter, and how many lines these took."""
    number, first, said = 0, "", None
    for line in text:
        number += 1
        told = _SAID.fullmatch(line)
        said = said or told
        if line.strip() and told is None:
            first = line
            break
    delimiters = _DELIMITERS if said is None else (said[1],)
    readings = {each: next(csv.reader([first], delimiter=each), []) for each in delimiters}
    delimiter = max(readings, key=lambda each: len(readings[each]))
    names = [_name(name) for name in readings[delimiter]]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} occurs twice")
    return names, delimiter, number


def _name(name: str) -> str:
    """Return the name of a column; capitals do not matter where it is one of ours."""
    name = repaired(name.strip())
    small = name.casefold()
    if small in _TEXTS | _NUMBERS:
        return small
    return small[:2] + name[2:].strip() if small[:2] in _FAMILIES else name


def _is_number(name: str) -> bool:
    return name in _NUMBERS or name[:2] in _FAMILIES


def _number(where: str, name: str, text: str, *, comma: bool) -> float | None:
    """Return what a field says; None where it says nothing."""
    said = text.strip()
    if said.casefold() in MISSING:
        return None
    quality = name == "quality" or name.startswith("q:")
    if quality and said.casefold() in TRUTHS:
        return TRUTHS[said.casefold()]
    share = quality and said.endswith("%")
    plain = said.removesuffix("%").removeprefix("$").strip()
    if comma and "." not in plain:
        plain = plain.replace(",", ".")
    if not _DIGITS.fullmatch(plain):
        raise DataError(f"{where}: {name!r} must be a number, got {shown_value(text)}")
    return float(plain) / 100 if share else float(plain)


def _is_ours(names: Sequence[str]) -> bool:
    """Whether the names of columns are those of outcomes of our own."""
    return ("prompt" in names or "messages" in names) and (
        {"model", "quality"} <= set(names) or any(name.startswith("q:") for name in names)
    )
