"""Spending from rows that are read one after the other: what waits in Redis."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from app.outcomes.redis import Names
from app.spend.question import (
    COLUMNS,
    TIMES,
    Amounts,
    Group,
    Overdue,
    Question,
    SourceError,
    time_text,
)

_AT_ONCE = 500
_PAUSE_S = 0.002
"""Between batches, each of a few milliseconds, the event loop has its turn of the interpreter."""
_MOST_SKEW_S = 3600.0
_REMEMBERED = 50_000
_TIMEOUT_S = 2.0


class SpendRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What of a row of the decision log is needed here."""

    decision_id: str
    time: float
    key_id: str | None = None
    team: str | None = None
    policy: str | None = None
    model: str | None = None
    upstream: str | None = None
    status: int = 0
    error: str | None = None
    cache: str | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    cost_nusd: int | None = None
    hedge_cost_nusd: int | None = None
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
    only = [(COLUMNS[each], value) for each, value in question.only.items()]
    for i, row in enumerate(rows):
        if i % _AT_ONCE == 0 and time.monotonic() > deadline:
            raise Overdue
        if not question.since <= row.time < question.until or row.decision_id in lately:
            continue
        lately[row.decision_id] = None
        if len(lately) > _REMEMBERED:
            lately.popitem(last=False)
        if any(getattr(row, column) != value for column, value in only):
            continue
        group = tuple(
            time_text(each, row.time) if each in TIMES else getattr(row, COLUMNS[each])
            for each in question.by
        )
        amounts = found.get(group)
        if amounts is None:
            if len(found) >= question.most_groups:
                raise question.too_many()
            amounts = found[group] = Amounts()
        amounts.add(_amounts(row))
    return found


def _amounts(row: SpendRow) -> Amounts:
    scorer_nusd = row.scorer_cost_nusd or 0
    cost_nusd = (row.cost_nusd or 0) + scorer_nusd
    return Amounts(
        requests=1,
        failed_requests=row.status >= 400 or row.error is not None,
        cached_answers=row.cache == "hit",
        input_tokens=row.input_tokens or 0,
        cached_input_tokens=row.cached_input_tokens or 0,
        output_tokens=row.output_tokens or 0,
        reasoning_tokens=row.reasoning_tokens or 0,
        cost_nusd=cost_nusd,
        scorer_cost_nusd=scorer_nusd,
        hedge_cost_nusd=row.hedge_cost_nusd or 0,
        unpriced_requests=row.cost_nusd is None and row.input_tokens is not None,
        estimated_requests=row.estimated,
        estimated_cost_nusd=cost_nusd if row.estimated else 0,
    )
