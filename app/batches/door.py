"""The door through which requests of a batch go, which is that of all other requests."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from app.access.guard import Caller

_SUCCESS = range(200, 300)


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes
    ----------
    number
        Of the line, from 0.
    body
        As its client wrote it.
    """

    number: int
    custom_id: str
    body: bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How the requests of one batch are asked.

    Attributes
    ----------
    headers
        Names in lower case, and values.
    """

    caller: Caller
    endpoint: str
    headers: tuple[tuple[bytes, bytes], ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway answered.

    Attributes
    ----------
    body
        JSON.
    cached_tokens, reasoning_tokens
        Those among the tokens of input and of output.
    code
        Of the error, where it is one.
    should_retry
        Whether the same request may go better later, and `retry_after_s` when, where that is known.
    """

    status: int
    body: bytes
    request_id: str
    cost_usd: float = 0.0
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    code: str | None = None
    retry_after_s: float | None = None
    should_retry: bool = False

    @property
    def is_ok(self) -> bool:
        """Whether it is an answer, and no error."""
        return self.status in _SUCCESS


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What is predicted of one model on one request; quality is None where nothing is.

    `cost_usd_upper` goes by cautious estimates of prompt and answer.
    """

    model: str
    quality: float | None
    cost_usd: float
    cost_usd_upper: float


class Door(Protocol):
    """Asks the gateway, as a client would."""

    async def answer(
        self, asked: Asked, line: BatchLine, *, request_id: str, model: str | None
    ) -> Answer:
        """Ask one request, of one model alone where one is named, and wait for the whole answer."""
        ...

    async def candidates(
        self, asked: Asked, lines: Sequence[BatchLine]
    ) -> list[tuple[Candidate, ...] | Answer]:
        """Return which models may answer each request, with what is predicted of them.

        Of a request that cannot be asked, what it would be told.
        """
        ...
