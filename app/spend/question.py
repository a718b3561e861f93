"""What somebody wants to know of spending, and what the answer is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, Self

import msgspec

from app.errors import InvalidRequestError
from routers.media.arms import VARIANT_MARK


class Dimension(StrEnum):
    """What spending is told apart by."""

    KEY = "key"
    TEAM = "team"
    MODEL = "model"
    BASE_MODEL = "base_model"
    UPSTREAM = "upstream"
    POLICY = "policy"
    SESSION = "session"
    AGENT = "agent"
    ROLE = "role"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


COLUMNS: Mapping[Dimension, str] = {
    Dimension.KEY: "key_id",
    Dimension.TEAM: "team",
    Dimension.MODEL: "model",
    Dimension.UPSTREAM: "upstream",
    Dimension.POLICY: "policy",
    Dimension.SESSION: "session_id",
    Dimension.AGENT: "agent_id",
    Dimension.ROLE: "role",
}
"""Where the rows of the decision log say it; times are made of `time`, roles are said by calls."""


def base_model(model: str | None) -> str | None:
    """Return the model that a variant (`M@NAME`) is one of; others are their own."""
    return None if model is None else model.partition(VARIANT_MARK)[0]


TIMES = frozenset({Dimension.HOUR, Dimension.DAY, Dimension.MONTH})


class Amounts(msgspec.Struct, kw_only=True, gc=False):
    """What some requests used together; money in billionths of a US dollar.

    Of a question that tells roles apart, tokens, money and estimates are those of the calls, and
    a request counts in each group that it made a call of.

    Attributes
    ----------
    failed_requests
        That ended in an error, streams that broke included.
    cached_answers
        Answered by the response cache, which costs nothing.
    cost_nusd
        All that was paid, of every call.
    unpriced_requests
        Whose price is not known; they count as nothing in the money.
    estimated_requests, estimated_cost_nusd
        Whose tokens were counted by the gateway, because the upstream told none.
    """

    requests: int = 0
    failed_requests: int = 0
    cached_answers: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    unpriced_requests: int = 0
    estimated_requests: int = 0
    estimated_cost_nusd: int = 0

    def add(self, other: Self) -> None:
        """Count others too."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


Group = tuple[str | None, ...]
"""The value of each dimension, in the order in which they were asked for."""


class Overdue(Exception):  # noqa: N818  (becomes an answer at the desk)
    """Reading took longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which requests are asked about, and what they are told apart by.

    Attributes
    ----------
    since, until
        When requests ended, in seconds since the epoch; `until` itself is left out.
    by
        The dimensions, each once.
    only
        Dimension → the one value that counts.
    most_groups
        How many groups the answer may have.
    """

    since: float
    until: float
    by: tuple[Dimension, ...] = ()
    only: Mapping[Dimension, str] = field(default_factory=dict)
    most_groups: int = 10_000

    @property
    def is_of_calls(self) -> bool:
        """Whether it is about calls, each with its own model and upstream, not whole requests."""
        return Dimension.ROLE in self.by or Dimension.ROLE in self.only

    def too_many(self) -> InvalidRequestError:
        """Return the error for more groups than the answer may have."""
        return InvalidRequestError(
            f"there are more than {self.most_groups} groups; ask for a shorter time, or tell "
            "them apart by less",
            param="group_by",
            code="too_many_groups",
        )


class SpendSource(Protocol):
    """Where rows are read; blocks, and changes nothing."""

    @property
    def name(self) -> str:
        """Such as `sqlite`."""
        ...

    @property
    def covers(self) -> str | None:
        """What of the requests is told; None where all are, as long as rows are kept."""
        ...

    def read(self, question: Question, *, deadline: float) -> dict[Group, Amounts]:
        """Add rows up.

        Parameters
        ----------
        deadline
            In seconds of `time.monotonic`.

        Raises
        ------
        InvalidRequestError
            If there are more groups than asked for.
        Overdue
        SourceError
            If the rows cannot be read.
        """
        ...


class SourceError(Exception):
    """The rows cannot be read at the moment."""


def parse_dimensions(text: str) -> tuple[Dimension, ...]:
    """Read dimensions that are separated by commas.

    Raises
    ------
    ValueError
        If one is unknown, or stands twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Dimension)]
    if unknown:
        raise ValueError(f"{unknown[0][:40]!r} is none of {', '.join(Dimension)}")
    if len(set(names)) < len(names):
        raise ValueError("a dimension stands twice")
    return tuple(Dimension(name) for name in names)


def time_text(dimension: Dimension, at: float) -> str:
    """Return the hour, day or month (UTC) that a moment is in."""
    moment = datetime.fromtimestamp(at, UTC)
    match dimension:
        case Dimension.HOUR:
            return f"{moment:%Y-%m-%dT%H:00Z}"
        case Dimension.DAY:
            return f"{moment:%Y-%m-%d}"
        case _:
            return f"{moment:%Y-%m}"


def total_of(found: Sequence[Amounts]) -> Amounts:
    """Return what all requests used together."""
    total = Amounts()
    for amounts in found:
        total.add(amounts)
    return total
