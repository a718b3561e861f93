"""JSONL: one outcome (one model on one query) per line."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.lines import json_lines, number_of
from routers.data.messages import conversation_key, group_of, read_messages
from routers.data.parquet import Queries
from routers.data.part import Part
from routers.errors import DataError
from routers.files import shown_value
from routers.types import Conversation


@dataclass(slots=True)
class Query:
    """One query, and what its lines told so far."""

    query_id: str
    key: str
    prompt: str
    conversation: Conversation
    billed: Conversation
    group: str
    input_tokens: list[float] = field(default_factory=list)
    outcomes: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)


def read_jsonl(path: Path) -> Part:
    """Read outcomes, one per line, and gather them by query.

    Keys: `query_id`; `prompt` (text) or `messages` (as in a chat request); `model`; `quality` in
    [0, 1] or null; optional `query` (the text to embed instead of the prompt), `input_tokens`,
    `output_tokens`, `cost_usd`, `set`, `benchmark`, `subset`. Other keys are ignored,
    empty lines skipped.

    Raises
    ------
    DataError
        If a line cannot be understood; the message names it.
    """
    queries: dict[tuple[str, str], Query] = {}
    models: dict[str, int] = {}
    for where, record in json_lines(path):
        _take_line(where, record, queries, models)
    if not queries:
        raise DataError(f"{path}: has no rows")
    rows = list(queries.values())
    values = np.full((3, len(rows), len(models)), np.nan)
    for i, row in enumerate(rows):
        for model, outcomes in row.outcomes.items():
            for kind, known in enumerate(zip(*outcomes, strict=True)):
                given = [value for value in known if not math.isnan(value)]
                if given:
                    values[kind, i, models[model]] = sum(given) / len(given)
    return Part(
        query_ids=tuple(row.query_id for row in rows),
        prompts=tuple(row.prompt for row in rows),
        conversations=tuple(row.conversation for row in rows),
        billed=tuple(row.billed for row in rows),
        input_tokens=tuple(
            sum(row.input_tokens) / len(row.input_tokens) if row.input_tokens else None
            for row in rows
        ),
        groups=tuple(row.group for row in rows),
        models=tuple(models),
        quality=values[0],
        output_tokens=values[1],
        cost_usd=values[2],
        samples=_samples(rows, models),
    )


def read_jsonl_queries(path: Path) -> Queries:
    """Read the queries of a JSONL file and nothing of its outcomes.

    Keys: `prompt` or `messages`; optional `query_id` (the number of the line without it) and
    `query`. A query with outcomes of several models on several lines counts once.

    Raises
    ------
    DataError
        If a line cannot be understood; the message names it.
    """
    found: dict[tuple[str, str], Query] = {}
    for where, record in json_lines(path):
        number = where.rpartition(" ")[2]
        query = query_of(where, {"query_id": number, **record})
        found.setdefault((query.query_id, query.key), query)
    if not found:
        raise DataError(f"{path}: has no rows")
    rows = found.values()
    return Queries(
        query_ids=tuple(row.query_id for row in rows),
        prompts=tuple(row.prompt for row in rows),
        conversations=tuple(row.conversation for row in rows),
        billed=tuple(row.billed for row in rows),
        groups=tuple(row.group for row in rows),
    )


def _samples(rows: Sequence[Query], models: Mapping[str, int]) -> np.ndarray | None:
    """Return the single outcomes, (n_queries, n_models, n_samples); None without repetitions."""
    most = max(len(outcomes) for row in rows for outcomes in row.outcomes.values())
    if most == 1:
        return None
    samples = np.full((len(rows), len(models), most), np.nan)
    for i, row in enumerate(rows):
        for model, outcomes in row.outcomes.items():
            samples[i, models[model], : len(outcomes)] = [quality for quality, _, _ in outcomes]
    return samples


def query_of(where: str, record: dict[str, Any]) -> Query:
    """Return the query of a line, without an outcome.

    Raises
    ------
    DataError
        If it cannot be understood.
    """
    query_id = name_of(where, record, "query_id")
    billed = _conversation(where, record)
    embedded = record.get("query")
    if embedded is not None and not isinstance(embedded, str):
        raise DataError(f"{where}: 'query' must be a text, got {shown_value(embedded)}")
    return Query(
        query_id=query_id,
        key=json.dumps([[message.role, message.text] for message in billed.messages]),
        prompt=conversation_key(billed),
        conversation=billed if embedded is None else Conversation.of(embedded),
        billed=billed,
        group=group_of(where, record, ("set", "benchmark", "subset")),
    )


def _take_line(
    where: str,
    record: dict[str, Any],
    queries: dict[tuple[str, str], Query],
    models: dict[str, int],
) -> None:
    new, model = query_of(where, record), name_of(where, record, "model")
    if "quality" not in record:
        raise DataError(f"{where}: 'quality' is missing; give a number from 0 to 1, or null")
    query = queries.setdefault((new.query_id, new.key), new)
    models.setdefault(model, len(models))
    reported = field_number(where, record, "input_tokens")
    if not math.isnan(reported):
        query.input_tokens.append(reported)
    query.outcomes.setdefault(model, []).append(
        (
            field_number(where, record, "quality", high=1.0),
            field_number(where, record, "output_tokens"),
            field_number(where, record, "cost_usd"),
        )
    )


def name_of(where: str, record: dict[str, Any], name: str) -> str:
    """Return a name that a line has to give; whole numbers may stand for ids.

    Raises
    ------
    DataError
        If it does not.
    """
    value = record.get(name)
    if name == "query_id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: {name!r} must be a text, got {shown_value(value)}")
    return value


def field_number(where: str, record: dict[str, Any], name: str, *, high: float = math.inf) -> float:
    """Return a number that a line may give; NaN where it does not.

    Raises
    ------
    DataError
        If it is none from 0 to `high`.
    """
    value = record.get(name)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {name!r} must be a number, got {shown_value(value)}")
    found = number_of(value)
    if found is None or not 0 <= found <= high or math.isinf(found):
        bound = "finite and not negative" if math.isinf(high) else f"between 0 and {high:g}"
        raise DataError(f"{where}: {name!r} is {shown_value(value)}; it must be {bound}")
    return found


def _conversation(where: str, record: dict[str, Any]) -> Conversation:
    if ("prompt" in record) == ("messages" in record):
        raise DataError(f"{where}: give either 'prompt' or 'messages'")
    if "prompt" in record:
        if not isinstance(record["prompt"], str):
            raise DataError(
                f"{where}: 'prompt' must be a text, got {shown_value(record['prompt'])}"
            )
        return Conversation.of(record["prompt"])
    return read_messages(where, record["messages"])
