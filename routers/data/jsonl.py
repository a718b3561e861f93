"""JSONL: one outcome (one model on one query) per line."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.lines import json_lines
from routers.data.media import described_media
from routers.data.messages import (
    conversation_key,
    documents_key,
    group_of,
    read_documents,
    read_judged,
    read_messages,
)
from routers.data.part import Part, Queries
from routers.data.recognise import advice
from routers.data.values import plain_number, quality_number
from routers.errors import DataError
from routers.files import shown_value
from routers.media.arms import LEVELS, detail_arm
from routers.types import Conversation

_OF_THE_QUERY = ("query_id", "prompt", "messages", "query", "model", "set", "benchmark", "subset")
"""What a query is known by, with documents or without."""


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
    """Read outcomes, one per line, and gather them by query; see `gather`.

    Raises
    ------
    DataError
        If a line cannot be understood; the message names it.
    """
    return gather(str(path), json_lines(path))


def gather(
    source: str, records: Iterable[tuple[str, dict[str, Any]]], *, ids_needed: bool = True
) -> Part:
    """Gather outcomes by query out of records, each with the words that say where it stands.

    Keys: `query_id`; `prompt` (text) or `messages` (as in a chat request); `model`; `quality` in
    [0, 1], true, false, yes, no or null; optional `query` (the text to embed instead of the
    prompt), `input_tokens`, `output_tokens`, `cost_usd`, `set`, `benchmark`, `subset`. Instead of
    `model` a record may have `q:M`, and `c:M` and `t:M`, of every model M. `media` describes what
    of a request is no text, and a `detail` at which its images were looked at makes the model one
    of its own. Other keys are ignored.

    `documents`, what a query brought for its answer to rest on, makes it another query than the
    same prompt without them; `quality_without` (wide: `qw:M`) is what the model made of that.

    Parameters
    ----------
    source
        Where the records come from, for messages: a file, if they come from one.
    ids_needed
        Whether `query_id` has to be there; else equal prompts are one query.

    Raises
    ------
    DataError
        If a record cannot be understood, or there is none; the message names it.
    """
    queries: dict[tuple[str, str], Query] = {}
    models: dict[str, int] = {}
    for where, record in records:
        wide = "model" not in record and any(name.startswith("q:") for name in record)
        if not queries and not wide and not {"model", "quality"} <= record.keys():
            _refuse_published(source, where, record)
        if not ids_needed and record.get("query_id") is None:
            told = record.get("prompt", record.get("messages"))
            record = {**record, "query_id": _id_of(told)}  # noqa: PLW2901  (of this file alone)
        _take(where, record, queries, models, wide=wide)
    if not queries:
        raise DataError(f"{source}: has no rows")
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


def _refuse_published(source: str, where: str, record: Mapping[str, Any]) -> None:
    hint = advice(Path(source), record)
    if hint:
        raise DataError(f"{where}: is no outcome of 'model' and 'quality'{hint}")


def _id_of(told: object) -> str:
    text = told if isinstance(told, str) else json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def queries_of(source: str, records: Iterable[tuple[str, dict[str, Any]]]) -> Queries:
    """Gather the queries of records, each with where it stands, and nothing of their outcomes.

    Keys: `prompt` or `messages`; optional `query_id` (the number of the line without it) and
    `query`. A query with outcomes of several models on several lines counts once.

    Raises
    ------
    DataError
        If a line cannot be understood; the message names it.
    """
    found: dict[tuple[str, str], Query] = {}
    for where, record in records:
        number = where.rpartition(" ")[2]
        query = query_of(where, {"query_id": number, **record})
        found.setdefault((query.query_id, query.key), query)
    if not found:
        raise DataError(f"{source}: has no rows")
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
    documents = read_documents(where, record.get("documents"))
    judged = read_judged(where, record.get("decision_model"))
    billed = conversation_of(where, record)
    media = described_media(where, record)
    if media is not None:
        billed = replace(billed, media=media)
    embedded = record.get("query")
    if embedded is not None and not isinstance(embedded, str):
        raise DataError(f"{where}: 'query' must be a text, got {shown_value(embedded)}")
    read = billed
    if embedded is not None:
        read = replace(Conversation.of(embedded), media=billed.media)
    return Query(
        query_id=query_id,
        key=json.dumps(
            [
                [[message.role, message.text] for message in billed.messages],
                [[each.text, each.score] for each in documents],
            ]
        ),
        prompt=conversation_key(billed) + documents_key(documents),
        conversation=replace(read, documents=documents, judged=judged)
        if documents or judged
        else read,
        billed=replace(billed, documents=documents) if documents else billed,
        group=group_of(where, record, ("set", "benchmark", "subset")),
    )


def _take(
    where: str,
    record: dict[str, Any],
    queries: dict[tuple[str, str], Query],
    models: dict[str, int],
    *,
    wide: bool,
) -> None:
    """Take a record, and what it tells of the same query without its documents."""
    take = _take_wide if wide else _take_line
    take(where, record, queries, models)
    renamed = {f"qw:{name[2:]}": name for name in record if name[:2] == "q:"}
    renamed["quality_without"] = "quality"
    without = {
        other: record[name] for name, other in renamed.items() if record.get(name) is not None
    }
    if without:
        bare = {name: record[name] for name in _OF_THE_QUERY if name in record}
        take(where, {**bare, **without}, queries, models)


def _take_line(
    where: str,
    record: dict[str, Any],
    queries: dict[tuple[str, str], Query],
    models: dict[str, int],
) -> None:
    new, model = query_of(where, record), _asked_model(where, record)
    if "quality" not in record:
        raise DataError(f"{where}: 'quality' is missing; give a number from 0 to 1, or null")
    query = queries.setdefault((new.query_id, new.key), new)
    models.setdefault(model, len(models))
    reported = plain_number(where, "input_tokens", record.get("input_tokens"))
    if not math.isnan(reported):
        query.input_tokens.append(reported)
    query.outcomes.setdefault(model, []).append(
        (
            quality_number(where, "quality", record["quality"]),
            plain_number(where, "output_tokens", record.get("output_tokens")),
            plain_number(where, "cost_usd", record.get("cost_usd")),
        )
    )


def _asked_model(where: str, record: dict[str, Any]) -> str:
    """Return the model of a line: one that was asked for a detail of images is one of its own."""
    model, detail = name_of(where, record, "model"), record.get("detail")
    if detail is None or detail == "auto":
        return model
    if detail not in LEVELS:
        raise DataError(
            f"{where}: 'detail' must be auto, {', '.join(LEVELS)}, got {shown_value(detail)}"
        )
    return detail_arm(model, detail)


def _take_wide(
    where: str,
    record: dict[str, Any],
    queries: dict[tuple[str, str], Query],
    models: dict[str, int],
) -> None:
    """Take a record with the outcomes of several models."""
    new = query_of(where, record)
    query = queries.setdefault((new.query_id, new.key), new)
    told = dict.fromkeys(name[2:] for name in record if name[:2] in ("q:", "c:", "t:"))
    reported = plain_number(where, "input_tokens", record.get("input_tokens"))
    if not math.isnan(reported):
        query.input_tokens.append(reported)
    for model in told:
        models.setdefault(model, len(models))
        query.outcomes.setdefault(model, []).append(
            (
                quality_number(where, f"q:{model}", record.get(f"q:{model}")),
                plain_number(where, f"t:{model}", record.get(f"t:{model}")),
                plain_number(where, f"c:{model}", record.get(f"c:{model}")),
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


def conversation_of(where: str, record: Mapping[str, Any]) -> Conversation:
    """Return what a line's model reads: its `prompt`, or its `messages`.

    Raises
    ------
    DataError
        If it has neither or both, or they cannot be understood.
    """
    if ("prompt" in record) == ("messages" in record):
        raise DataError(f"{where}: give either 'prompt' or 'messages'")
    if "prompt" in record:
        if not isinstance(record["prompt"], str):
            raise DataError(
                f"{where}: 'prompt' must be a text, got {shown_value(record['prompt'])}"
            )
        return Conversation.of(record["prompt"])
    return read_messages(where, record["messages"])
