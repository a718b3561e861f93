"""What models answered: columns or fields of an outcome file, or a file of their own."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routers.answers.recorded import RecordedAnswers
from routers.data.dataset import OutcomeTable
from routers.data.jsonl import name_of, query_of
from routers.data.lines import json_lines
from routers.data.parquet import read_queries
from routers.data.parquet_columns import (
    number_columns,
    optional_texts,
    read_columns,
    sample_of,
    schema_names,
    text_column,
)
from routers.data.values import plain_number, quality_number
from routers.errors import DataError
from routers.files import shown, shown_value

_LITERAL, _TEXT, _QUALITY = "a:", "x:", "q:"
_NUMBERS = {
    "latency_s": ("l:", 0.0, np.inf),
    "verified": ("v:", 0.0, 1.0),
    "judged": ("j:", 0.0, 1.0),
    "logprob": ("p:", -np.inf, 0.0),
    "quality": (_QUALITY, 0.0, 1.0),
}
"""What is told of an answer besides its text, by its name in lines: the family of columns, and from
where to where it lies."""

_MAX_FURTHER = 99
"""Answers of one model to one query, beyond the first."""

_NAMED = 3
"""Models or queries that an error names; of the others it says how many there are."""

_HOW = "columns a:MODEL or x:MODEL; in JSONL the fields 'answer' or 'text'"


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model answered to a query.

    Attributes
    ----------
    number
        Which of its answers, from 0 on; None for the next one.
    numbers
        As `_NUMBERS`, NaN where nobody told.
    """

    key: Hashable
    model: str
    number: int | None
    literal: str | None
    text: str | None
    numbers: Mapping[str, float]


def read_answers(
    table: OutcomeTable,
    data: Sequence[Path],
    answers: Sequence[Path] = (),
    *,
    models: Sequence[str] | None = None,
) -> RecordedAnswers:
    """Read what the models of a table answered to its queries, in the order of both.

    Parameters
    ----------
    data
        The files of the table; they are read where there are no `answers`.
    answers
        Files with answers, joined by `query_id`: wide .parquet with `query_id` and, per model M,
        `a:M` (the answer proper) or `x:M` (the whole text) or both, and where they are known `l:M`
        (seconds), `v:M` (the share of M's votes on its own answer that called it correct), `j:M`
        (the chance that it is good, as a judge said) and `p:M` (the mean log-probability of its
        tokens), of further answers of M the same of `M#2`, `M#3` and so on, with their quality
        (`q:M#2`); or .jsonl with `query_id`, `model` and `answer` or `text` or both, `latency_s`,
        `verified`, `judged`, `logprob`, `quality`, a line for each answer. Queries and models that
        the table does not have are left aside.

    Raises
    ------
    DataError
        If a file cannot be understood, or tells nothing of a query or of a model of the table;
        the message says what to do.
    """
    found = _Found(table)
    if answers:
        rows = _rows_by_id(table, answers)
        for path in answers:
            found.take(_told(path, keyed_by_id=True), rows.get)
    else:
        both = zip(table.query_ids, table.conversations, strict=True)
        by_query: dict[Hashable, int] = {}
        for row, key in enumerate(both):
            by_query.setdefault(key, row)  # of outcomes and battles on one prompt the outcomes
        for path in data:
            found.take(_told(path, keyed_by_id=False), by_query.get)
    names = ", ".join(shown(path.name) for path in (answers or data))
    if not found.anything:
        raise DataError(
            f"{names}: holds no answers ({_HOW})"
            + ("" if answers else "; give a file that has them as --answers")
        )
    found.check(names, table.models if models is None else models)
    return found.recorded()


class _Round:
    """The first answers of all models to all queries, or the second ones, and so on."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.literals = np.full(shape, None, dtype=object)
        self.texts = np.full(shape, None, dtype=object)
        self.numbers = {name: np.full(shape, np.nan) for name in _NUMBERS}

    def told(self, row: int, column: int) -> bool:
        """Return whether a model answered a query."""
        return self.literals[row, column] is not None or self.texts[row, column] is not None

    def take(self, row: int, column: int, said: _Said) -> None:
        """Take an answer in."""
        self.literals[row, column] = said.literal
        self.texts[row, column] = said.text
        for name, value in said.numbers.items():
            self.numbers[name][row, column] = value

    def recorded(
        self, models: tuple[str, ...], further: Sequence[RecordedAnswers] = ()
    ) -> RecordedAnswers:
        """Return them; of what nobody told, nothing."""
        known = {
            name: None if np.isnan(array).all() else array for name, array in self.numbers.items()
        }
        has_texts = (self.texts != None).any()  # noqa: E711  (of objects, one by one)
        return RecordedAnswers(
            models=models,
            literals=self.literals,
            texts=self.texts if has_texts else None,
            further=tuple(further),
            **known,
        )


@dataclass(slots=True)
class _Found:
    """The answers of a table as far as files have told them."""

    table: OutcomeTable
    rounds: list[_Round] = field(init=False)
    column_of: Mapping[str, int] = field(init=False)
    seen: np.ndarray = field(init=False)
    strangers: dict[str, None] = field(default_factory=dict)
    anything: bool = False

    def __post_init__(self) -> None:
        self.rounds = [_Round(self._shape)]
        self.column_of = {model: column for column, model in enumerate(self.table.models)}
        self.seen = np.zeros(len(self.table), dtype=np.bool_)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.table), len(self.table.models)

    def take(self, said: Iterable[_Said], row_of: Callable[[Hashable], int | None]) -> None:
        """Take answers; of a number that is there already the first one stays."""
        for each in said:
            if each.literal is None and each.text is None:
                continue
            self.anything = True
            row, column = row_of(each.key), self.column_of.get(each.model)
            if column is None:
                self.strangers.setdefault(each.model)
            if row is None:
                continue
            self.seen[row] = True
            if column is None:
                continue
            number = each.number
            if number is None:
                number = next(
                    (i for i, some in enumerate(self.rounds) if not some.told(row, column)),
                    len(self.rounds),
                )
            if number > _MAX_FURTHER:
                continue
            while number >= len(self.rounds):
                self.rounds.append(_Round(self._shape))
            if not self.rounds[number].told(row, column):
                self.rounds[number].take(row, column, each)

    def recorded(self) -> RecordedAnswers:
        """Return everything that was told."""
        models = self.table.models
        return self.rounds[0].recorded(models, [each.recorded(models) for each in self.rounds[1:]])

    def check(self, names: str, models: Sequence[str]) -> None:
        """Refuse answers that leave out a query, or a model of these."""
        unseen = np.flatnonzero(~self.seen)
        if len(unseen):
            which = _few([self.table.query_ids[row] for row in unseen])
            raise DataError(
                f"{names}: has no answers to {len(unseen)} of {len(self.table)} queries, such as "
                f"query_id {which}; add them, or leave these queries out of the outcomes"
            )
        silent = [
            model
            for model in models
            if not any(
                self.rounds[0].told(row, self.column_of[model]) for row in range(len(self.table))
            )
        ]
        if silent:
            others = _few(list(self.strangers))
            unknown = f" (it has some of {others}, which the outcomes do not know)"
            raise DataError(
                f"{names}: has no answers of {_few(silent)}{unknown if self.strangers else ''}; "
                "call models alike in both, add their answers, or leave them out of the outcomes"
            )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name) for name in names[:_NAMED]) + more


def _rows_by_id(table: OutcomeTable, answers: Sequence[Path]) -> dict[Hashable, int]:
    rows: dict[Hashable, int] = {}
    for row, query_id in enumerate(table.query_ids):
        if query_id in rows and table.conversations[row] == table.conversations[rows[query_id]]:
            continue  # outcomes of a prompt come before battles on it
        if query_id in rows:
            names = ", ".join(file.name for file in table.files)
            raise DataError(
                f"{names}: query_id {shown(query_id)} stands for several prompts, so it does not "
                f"tell to which of them {shown(answers[0].name)} has the answer; make ids unique, "
                "or put the answers beside the outcomes"
            )
        rows[query_id] = row
    return rows


def _told(path: Path, *, keyed_by_id: bool) -> Iterator[_Said]:
    """Yield what a file tells, in any order; keys are ids, or ids with the text to embed."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _wide(path, keyed_by_id=keyed_by_id)
    if suffix in (".jsonl", ".ndjson"):
        return _lines(path, keyed_by_id=keyed_by_id)
    raise DataError(
        f"{path}: unknown kind of file; give answers as wide .parquet, or as .jsonl with one "
        "answer per line"
    )


def _wide(path: Path, *, keyed_by_id: bool) -> Iterator[_Said]:
    names = schema_names(path)
    columns = [name for name in names if name[:2] in (_LITERAL, _TEXT)]
    asked = list(dict.fromkeys(name[2:] for name in columns))
    if keyed_by_id:
        if "query_id" not in names:
            raise DataError(f"{path}: column 'query_id' is missing, by which answers are joined")
        keys = _unique_ids(path)
    else:
        stray = [name for name in columns if _QUALITY + name[2:] not in names]
        if stray:
            raise DataError(
                f"{path}: column {stray[0]!r} has no {_QUALITY + stray[0][2:]!r} beside it"
            )
        queries = read_queries(path)
        keys = list(zip(queries.query_ids, queries.conversations, strict=True))
    for name in asked:
        model, number = sample_of(name, asked)
        families = (_LITERAL, _TEXT, *[family for family, _, _ in _NUMBERS.values()])
        mine = [family + name for family in families if family + name in names]
        table = read_columns(path, mine)
        nothing: list[str | None] = [None] * len(keys)
        literals, texts = (
            optional_texts(path, table, family + name) if family + name in mine else nothing
            for family in (_LITERAL, _TEXT)
        )
        told = {
            field: number_columns(path, table, family, [name], low=low, high=high)[:, 0].tolist()
            for field, (family, low, high) in _NUMBERS.items()
        }
        for row, (key, literal, text) in enumerate(zip(keys, literals, texts, strict=True)):
            numbers = {field: values[row] for field, values in told.items()}
            yield _Said(key, model, number, literal, text, numbers)


def _unique_ids(path: Path) -> list[Hashable]:
    ids = text_column(path, read_columns(path, ["query_id"]), "query_id")
    most, n = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if n > 1:
        raise DataError(f"{path}: query_id {shown(most)} occurs {n} times; give each query one row")
    return list(ids)


def _lines(path: Path, *, keyed_by_id: bool) -> Iterator[_Said]:
    for where, record in json_lines(path):
        if keyed_by_id:
            key: Hashable = name_of(where, record, "query_id")
        else:
            query = query_of(where, record)
            key = query.query_id, query.conversation
        literal, text = _field(where, record, "answer"), _field(where, record, "text")
        yield _Said(
            key,
            name_of(where, record, "model"),
            None,
            None if literal == text else literal,
            text,
            {
                field: quality_number(where, field, record.get(field))
                if family == _QUALITY
                else plain_number(where, field, record.get(field), low=low, high=high)
                for field, (family, low, high) in _NUMBERS.items()
            },
        )


def _field(where: str, record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {name!r} must be a text, got {shown_value(value)}")
    return value


def read_texts(paths: Sequence[Path]) -> dict[str, dict[Hashable, str]]:
    """Read the texts of answers alone, by model and query; the first answer of each counts.

    Parameters
    ----------
    paths
        Files as `answers` of `read_answers`; where an answer has no text, the answer proper is one.

    Raises
    ------
    DataError
        If a file cannot be read, or holds no answer.
    """
    found: dict[str, dict[Hashable, str]] = {}
    for path in paths:
        for said in _told(path, keyed_by_id=True):
            text = said.literal if said.text is None else said.text
            if text is not None and not said.number:
                found.setdefault(said.model, {}).setdefault(said.key, text)
    if not found:
        names = ", ".join(shown(path.name) for path in paths)
        raise DataError(f"{names}: holds no answers ({_HOW})")
    return found
