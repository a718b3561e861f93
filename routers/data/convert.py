"""Convert published outcome files to the formats that training reads."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routers.data.adapters.base import Record, adapter
from routers.data.jsonl import read_jsonl
from routers.data.lines import number_of
from routers.data.messages import conversation_key, read_messages
from routers.data.parquet import read_parquet
from routers.data.preferences import read_preferences
from routers.data.values import plain_number
from routers.errors import DataError
from routers.files import replacing, shown_value
from routers.types import Conversation

_FAMILIES = {"q:": "quality", "c:": "cost_usd", "t:": "output_tokens", "l:": "latency_s"}
_EACH = ("q:", "l:")
"""Those that are told of each answer, where a model gave several; of costs and tokens the mean."""
_TEXTS = {"a:": "answer", "x:": "text"}
_SAID = {"v:": "verified", "j:": "judged", "p:": "logprob"}
"""Columns of the wide table and what they are called in a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What was written: outcomes, or preferences."""

    what: str
    n_records: int
    n_queries: int
    models: tuple[str, ...]


def convert(
    kind: str,
    path: Path,
    out: Path,
    *,
    suffix: str | None = None,
    quality_scale: float = 1.0,
    fewest_chars: int = 0,
) -> Converted:
    """Convert a file of a kind to wide .parquet or .jsonl, and read the result as a check.

    `suffix` says which, where the name of `out` does not. The file appears whole or not at all.
    Qualities are divided by `quality_scale`: of percentages, 100. Prompts of fewer characters than
    `fewest_chars` are left out; RouteLLM keeps those of 16 and more. Preferences fit into .jsonl
    only.
    Where one model answered a query several times the wide table has the mean, and each answer
    where all of them are told.

    Raises
    ------
    RoutingConfigError
        If the kind is unknown.
    DataError
        If the file cannot be read as that kind, or the output cannot be written.
    """
    records = adapter(kind)(path)
    if quality_scale != 1:
        records = _scaled(records, quality_scale)
    if fewest_chars > 0:
        records = (each for each in records if not _is_shorter(each, fewest_chars))
    suffix = (suffix or out.suffix).lower()
    if suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{out}: give the output a name that ends in .parquet or .jsonl")
    if out.resolve() == path.resolve():
        raise DataError(f"{out}: is the input itself")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            try:
                return (_write_lines if suffix == ".jsonl" else _write_wide)(records, partial)
            except DataError as error:
                # The check names the file that it read, which nobody will find.
                raise DataError(str(error).replace(str(partial), str(out))) from error
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error


def _scaled(records: Iterable[Record], scale: float) -> Iterator[Record]:
    for n, record in enumerate(records):
        scaled = {
            name: plain_number(f"record {n}", name, value) / scale
            for name, value in record.items()
            if value is not None and (name == "quality" or name.startswith("q:"))
        }
        yield {**record, **scaled}


def _is_shorter(record: Record, n_chars: int) -> bool:
    """Whether a record has a prompt of fewer characters; conversations in `messages` have none."""
    prompt = record.get("prompt")
    return isinstance(prompt, str) and len(prompt) < n_chars


def _write_lines(records: Iterable[Record], out: Path) -> Converted:
    battle = None
    n = 0
    with out.open("w", encoding="utf-8") as lines:
        for record in records:
            battle = "winner" in record if battle is None else battle
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            n += 1
    part = read_preferences(out) if battle else read_jsonl(out)
    return Converted(
        what="preferences" if battle else "outcomes",
        n_records=n,
        n_queries=len(part.query_ids),
        models=part.models,
    )


@dataclass(slots=True)
class _Row:
    first: Record
    messages: str | None
    """As JSON, where they are more than one prompt."""
    values: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, list["_Answer"]] = field(default_factory=dict)
    n_records: Counter[str] = field(default_factory=Counter)

    def answers_of(self, model: str) -> list["_Answer"]:
        """Return a model's answers one by one where all are told; else the first, and means."""
        found = self.answers.get(model, [])
        if found and len(found) == self.n_records[model]:
            return found
        first = found[0] if found else _Answer({}, {})
        means = {prefix: _mean(self.values.get(prefix + model)) for prefix in _FAMILIES}
        return [_Answer(first.texts, {**first.numbers, **means})]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer: its own texts and numbers, by their columns."""

    texts: Mapping[str, str | None]
    numbers: Mapping[str, float | None]


def _write_wide(records: Iterable[Record], out: Path) -> Converted:
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows, models, n = _gather(records, out)
    columns: dict[str, Any] = {
        "query_id": pa.array([query_id for query_id, _ in rows]),
        "prompt": pa.array([prompt for _, prompt in rows]),
    }
    messages = [row.messages for row in rows.values()]
    if any(each is not None for each in messages):
        columns["messages"] = pa.array(messages, pa.string())
    for name in ("set", "benchmark", "query"):
        texts = [row.first.get(name) for row in rows.values()]
        if any(text is not None for text in texts):
            columns[name] = pa.array([None if text is None else str(text) for text in texts])
    for prefix in _FAMILIES:
        for model in models:
            means = [_mean(row.values.get(prefix + model)) for row in rows.values()]
            if prefix == "q:" or any(mean is not None for mean in means):
                columns[prefix + model] = pa.array(means, pa.float64())
    for model in models:
        columns |= _answer_columns(model, [row.answers_of(model) for row in rows.values()])
    pq.write_table(pa.table(columns), out, compression="zstd")
    part = read_parquet(out)
    return Converted(
        what="outcomes", n_records=n, n_queries=len(part.query_ids), models=part.models
    )


def _answer_columns(model: str, answers: Sequence[Sequence[_Answer]]) -> dict[str, Any]:
    """Return the columns of a model's answers to all queries, further ones too."""
    import pyarrow as pa  # noqa: PLC0415

    columns: dict[str, Any] = {}
    most = max(map(len, answers), default=0)
    for number in range(most):
        name = model if number == 0 else f"{model}#{number + 1}"
        told = [each[number] if number < len(each) else _Answer({}, {}) for each in answers]
        for prefix in _TEXTS:
            texts = [each.texts.get(prefix) for each in told]
            if any(text is not None for text in texts):
                columns[prefix + name] = pa.array(texts, pa.string())
        for prefix in (*_EACH, *_SAID) if most > 1 else _SAID:
            numbers = [each.numbers.get(prefix) for each in told]
            if prefix == "q:" or any(each is not None for each in numbers):
                columns[prefix + name] = pa.array(numbers, pa.float64())
    return columns


def _gather(
    records: Iterable[Record], out: Path
) -> tuple[dict[tuple[str, str], _Row], list[str], int]:
    """Collect records by query; also the models in order of appearance, and how many records."""
    rows: dict[tuple[str, str], _Row] = {}
    models: dict[str, None] = {}
    n = 0
    for record in records:
        prompt, messages = _prompt(f"record {n}", record)
        query_id, model = record.get("query_id"), record.get("model")
        if not isinstance(model, str) or query_id is None:
            raise DataError(f"{out}: record {n} has no query_id or model")
        row = rows.setdefault((str(query_id), prompt), _Row(record, messages))
        models.setdefault(model)
        for prefix, name in _FAMILIES.items():
            value = record.get(name)
            if value is not None:
                row.values.setdefault(prefix + model, []).append(_number(n, name, value))
        row.n_records[model] += 1
        answer, text = (_text(n, name, record.get(name)) for name in _TEXTS.values())
        if answer is not None or text is not None:
            numbers = {
                prefix: None if record.get(name) is None else _number(n, name, record[name])
                for prefix, name in (_FAMILIES | _SAID).items()
            }
            # An answer that is all of the text has not been read by anybody.
            texts = {"a:": None if answer == text else answer, "x:": text}
            row.answers.setdefault(model, []).append(_Answer(texts, numbers))
        n += 1
    if not rows:
        raise DataError(f"{out}: there is nothing to convert")
    return rows, list(models), n


def _number(n: int, name: str, value: object) -> float:
    found = number_of(value)
    if found is None:
        raise DataError(f"record {n}: {name!r} must be a number, got {shown_value(value)}")
    return found


def _text(n: int, name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise DataError(f"record {n}: {name!r} must be a text, got {shown_value(value)}")
    return value


def _mean(values: list[float] | None) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _prompt(where: str, record: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the prompt, and the messages as JSON where they are more than one prompt."""
    if "winner" in record:
        raise DataError("preferences do not fit into a wide table; convert them to .jsonl")
    if record.get("documents"):
        raise DataError(f"{where}: documents do not fit into a wide table; convert to .jsonl")
    if record.get("decision_model"):
        raise DataError(
            f"{where}: 'decision_model' does not fit into a wide table; convert to .jsonl"
        )
    if isinstance(record.get("prompt"), str):
        return str(record["prompt"]), None
    conversation = read_messages(where, record.get("messages"))
    key = conversation_key(conversation)
    if conversation == Conversation.of(key):
        return key, None
    return key, json.dumps(record["messages"], ensure_ascii=False)
