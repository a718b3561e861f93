"""Spending from rows that are read one after the other: what waits in Redis."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec

from app.outcomes.calls import Counted, known_nusd, read_calls
from app.outcomes.old_rows import calls_of_before
from app.outcomes.redis import Names
from app.spend.question import (
    COLUMNS,
    Amounts,
    Dimension,
    Group,
    Overdue,
    Question,
    SourceError,
    base_model,
    time_text,
)

_AT_ONCE = 500
_PAUSE_S = 0.002
"""Between batches, each of a few milliseconds, the event loop has its turn of the interpreter."""
_MOST_SKEW_S = 3600.0
_REMEMBERED = 50_000
_TIMEOUT_S = 2.0


class SpendRow(Counted, frozen=True, kw_only=True, gc=False):
    """What of a row of the decision log is needed here."""

    decision_id: str
    time: float
    key_id: str | None = None
    team: str | None = None
    policy: str | None = None
    model: str | None = None
    upstream: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    status: int = 0
    error: str | None = None
    cache: str | None = None
    calls: str | None = None
    attempts: str | None = None
    """Of earlier releases, as is the next."""
    scorer_cost_nusd: int | None = None


class RedisSpend:
    """Add up what the streams of the decision log hold.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`.
    prefix
        What every name begins with.
    """

    name = "redis"
    covers: str | None = (
        "what `steelyard collect` has not taken yet; of the rest, `steelyard spend --from` tells"
    )

    def __init__(self, url: str, *, prefix: str) -> None:
        self._url = url
        self._stream = Names(prefix).outcomes

    def read(self, question: Question, *, deadline: float) -> dict[Group, Amounts]:
        """Add rows up, a batch at a time."""
        import redis  # noqa: PLC0415  (takes its time)

        try:
            with redis.Redis.from_url(
                self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, protocol=2
            ) as client:
                return add_up(self._rows(client, question), question, deadline=deadline)
        except (redis.RedisError, OSError) as error:
            raise SourceError(f"the decision log cannot be read: {error}") from error

    def _rows(self, client: Any, question: Question) -> Iterator[SpendRow]:
        decode = msgspec.json.Decoder(SpendRow).decode
        # An entry is named by the time of its arrival, which is not before its row's, as far as
        # clocks agree.
        start: str | bytes = str(max(int((question.since - _MOST_SKEW_S) * 1e3), 0))
        while entries := client.xrange(self._stream, start, "+", count=_AT_ONCE):
            for _, fields in entries:
                if b"outcome" in fields:
                    yield decode(fields[b"outcome"])
            start = b"(" + entries[-1][0]
            time.sleep(_PAUSE_S)


def add_up(
    rows: Iterable[SpendRow], question: Question, *, deadline: float
) -> dict[Group, Amounts]:
    """Add rows up; one that comes twice within a while counts once.

    Raises
    ------
    InvalidRequestError
        If there are more groups than asked for.
    Overdue
    """
    found: dict[Group, Amounts] = {}
    # What could not be written at first is written again, so twins are near each other.
    lately: OrderedDict[str, None] = OrderedDict()
    columns = [COLUMNS.get(each) for each in question.by]
    only = [(COLUMNS[each], value) for each, value in question.only.items()]
    for i, row in enumerate(rows):
        if i % _AT_ONCE == 0 and time.monotonic() > deadline:
            raise Overdue
        if not question.since <= row.time < question.until or row.decision_id in lately:
            continue
        lately[row.decision_id] = None
        if len(lately) > _REMEMBERED:
            lately.popitem(last=False)
        counted: set[Group] = set()
        for part in _parts(row) if question.is_of_calls else (row,):
            if any(getattr(part, column) != value for column, value in only):
                continue
            group = tuple(
                _value(each, column, row, part)
                for each, column in zip(question.by, columns, strict=True)
            )
            amounts = found.get(group)
            if amounts is None:
                if len(found) >= question.most_groups:
                    raise question.too_many()
                amounts = found[group] = Amounts()
            amounts.add(_amounts(part, counts=group not in counted))
            counted.add(group)
    return found


def _value(dimension: Dimension, column: str | None, row: SpendRow, part: SpendRow) -> str | None:
    if column is not None:
        return cast("str | None", getattr(part, column))
    if dimension is Dimension.BASE_MODEL:
        return base_model(part.model)
    return time_text(dimension, row.time)


class _Part(SpendRow, frozen=True, kw_only=True, gc=False):
    """One call of a row, in its place."""

    role: str


def _parts(row: SpendRow) -> Iterator[_Part]:
    calls = read_calls(row.calls)
    if row.calls is None:
        calls = calls_of_before(row.attempts, row.scorer_cost_nusd)
    for call in calls:
        yield _Part(
            decision_id=row.decision_id,
            time=row.time,
            key_id=row.key_id,
            team=row.team,
            policy=row.policy,
            model=call.model,
            upstream=call.upstream,
            session_id=row.session_id,
            agent_id=row.agent_id,
            status=row.status,
            error=row.error,
            input_tokens=call.input_tokens,
            cached_input_tokens=call.cached_input_tokens,
            output_tokens=call.output_tokens,
            reasoning_tokens=call.reasoning_tokens,
            estimated=call.estimated,
            cost_nusd=call.cost_nusd,
            role=call.role,
        )


def _amounts(row: SpendRow, *, counts: bool) -> Amounts:
    """Return what a row, or one call of it, amounts to; `counts` for the first one in a group."""
    cost_nusd = known_nusd(row.calls) if row.cost_nusd is None else row.cost_nusd
    cost_nusd += row.scorer_cost_nusd or 0
    return Amounts(
        requests=counts,
        failed_requests=counts and (row.status >= 400 or row.error is not None),
        cached_answers=counts and row.cache == "hit",
        input_tokens=row.input_tokens or 0,
        cached_input_tokens=row.cached_input_tokens or 0,
        cache_write_tokens=row.cache_write_tokens or 0,
        output_tokens=row.output_tokens or 0,
        reasoning_tokens=row.reasoning_tokens or 0,
        cost_nusd=cost_nusd,
        unpriced_requests=row.cost_nusd is None and row.input_tokens is not None,
        estimated_requests=row.estimated,
        estimated_cost_nusd=cost_nusd if row.estimated else 0,
    )
