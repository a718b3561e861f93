"""What is booked of an upstream call. One rule for every end: what was sent is paid.

Of a call whose request the upstream may have read the prompt is booked, and the output that came:
by the upstream's own counts where it told any, else by our estimate. Reasoning that nobody sees is
added to what is estimated, as far as it is known. Nothing is booked where nothing was sent, and
where the upstream answered with an error status, which providers do not bill.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from app.errors import UpstreamError
from app.gateway.money.surcharges import Extra, surcharge
from app.gateway.request import RouteRequest
from app.providers.base import Chunk, Progress
from app.usage import ToldUsage, Usage
from routers.decisions import Decision
from routers.models import ModelSpec

DEFAULT_OUTPUT_TOKENS = 1024
"""Expected of an answer that nothing is predicted of and nothing limits."""

_CHARS_PER_TOKEN = 4
_MAX_CHARS_PER_EVENT = 7
"""Longer events, on average, hold more than one token each."""
_ENVELOPE_BYTES = 200
"""What the JSON around an answer takes, about."""
_MEMORY = 0.1
"""The weight of the newest answer in what is known of a model's reasoning."""
_ASK_TO_REASON = ("reasoning_effort", "reasoning", "thinking")
_NO_REASONING = frozenset({b"null", b'"none"', b"false", b"{}"})


def estimated_output_tokens(n_events: int, n_chars: int) -> int:
    """Estimate the tokens of a text that came in `n_events` pieces.

    Most servers send one token per event, and then the events are the exact count; where the
    pieces are longer than tokens are, the characters tell.
    """
    if n_chars <= n_events * _MAX_CHARS_PER_EVENT:
        return n_events
    return math.ceil(n_chars / _CHARS_PER_TOKEN)


def was_sent(progress: Progress, error: BaseException) -> bool:
    """Return whether a call that ended in `error` may have to be paid."""
    if isinstance(error, UpstreamError) and (error.status is not None or not error.sent):
        return False
    return progress.sent


def expected_output_tokens(request: RouteRequest, decision: Decision, spec: ModelSpec) -> int:
    """Return how long one answer of a model will probably be."""
    estimate = decision.estimate(spec.model_id)
    if estimate is not None and estimate.output_tokens is not None:
        return round(estimate.output_tokens)
    limits = (request.demand.max_output_tokens, spec.max_output_tokens, DEFAULT_OUTPUT_TOKENS)
    return min([limit for limit in limits if limit is not None])


class Arrived(msgspec.Struct, eq=False):
    """What has come of one answer so far."""

    n_events: int = 0
    n_chars: int = 0
    usage: ToldUsage | None = None
    """What was told, in one record or several; `final` where nothing can follow that changes it."""
    final: bool = False
    finish_reason: str | None = None

    def saw(self, chunk: Chunk) -> None:
        """Take note of a chunk."""
        self.n_events += chunk.content_events
        self.n_chars += chunk.content_chars
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        if chunk.usage is not None:
            told = chunk.usage
            self.usage = told if self.usage is None else self.usage.updated(told)
            self.final = self.finish_reason is not None

    @property
    def awaits_counts(self) -> bool:
        """Whether the answer has ended and only its token counts are still to come."""
        return self.finish_reason is not None and not self.final

    @property
    def output_tokens(self) -> int:
        """What can be seen of the answer, by estimate."""
        return estimated_output_tokens(self.n_events, self.n_chars)

    @classmethod
    def of(cls, chunks: Iterable[Chunk], progress: Progress) -> "Arrived":
        """Sum up the answer of a call that serves nobody."""
        arrived = cls(usage=progress.usage, final=progress.usage is not None)
        for chunk in chunks:
            arrived.saw(chunk)
        if progress.heard_bytes > _ENVELOPE_BYTES:
            arrived.n_events += 1
            arrived.n_chars += progress.heard_bytes - _ENVELOPE_BYTES
        return arrived


@dataclass(slots=True)
class HiddenReasoning:
    """How many tokens models spend on reasoning that their answers do not show.

    Upstreams tell it with the counts at the end of an answer; of one that was cut before, what is
    known of the model's other answers is booked.
    """

    _known: dict[str, float] = field(default_factory=dict)

    def learn(self, model_id: str, arrived: Arrived, n_answers: int) -> None:
        """Take note of an answer whose counts are final."""
        usage = arrived.usage
        if usage is None or not usage.reasoning_tokens or usage.output_tokens is None:
            return
        unseen = max(0, usage.output_tokens - arrived.output_tokens)
        hidden = min(unseen, usage.reasoning_tokens) / n_answers
        known = self._known.get(model_id, hidden)
        self._known[model_id] = known + _MEMORY * (hidden - known)

    def tokens(
        self, request: RouteRequest, decision: Decision | None, spec: ModelSpec, visible: int
    ) -> int:
        """Return what an answer of which `visible` tokens were seen has hidden, by estimate.

        Of a model that reasons (its catalogue entry has a price for it, or the request asks for
        it) and never told how much, the rest of what was expected counts as reasoning.
        """
        if not visible:
            return 0
        known = self._known.get(spec.model_id)
        n_answers = request.demand.n_answers
        if known is not None:
            return round(known * n_answers)
        if decision is None or not _reasons(spec, request.fields):
            return 0
        expected = expected_output_tokens(request, decision, spec) * n_answers
        return max(0, expected - visible)


def _reasons(spec: ModelSpec, fields: Mapping[str, bytes]) -> bool:
    if spec.effort is not None and spec.effort != "none":
        return True
    return spec.prices.reasoning_usd_per_mtok is not None or any(
        fields.get(name, b"null").strip() not in _NO_REASONING for name in _ASK_TO_REASON
    )


def booked_usage(
    request: RouteRequest,
    arrived: Arrived,
    *,
    spec: ModelSpec,
    max_output_tokens: int | None,
    hidden_tokens: int,
) -> Usage:
    """Return the tokens that a call is booked with.

    Parameters
    ----------
    spec
        Of the model that was called.
    max_output_tokens
        What the upstream was told to stop at, for each answer.
    hidden_tokens
        Added to what arrived, where the counts are not final.
    """
    told, demand = arrived.usage, request.demand
    input_tokens = demand.input_of(spec)[0]
    output_tokens = arrived.output_tokens + hidden_tokens
    if max_output_tokens is not None:
        output_tokens = min(output_tokens, max_output_tokens * demand.n_answers)
    if told is None:
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            reasoning_tokens=min(hidden_tokens, output_tokens),
            audio_input_tokens=min(demand.audio_of(spec)[0], input_tokens),
            audio_output_tokens=output_tokens if demand.is_spoken else 0,
            estimated=True,
        )
    if arrived.final:
        return told.filled(input_tokens=input_tokens, output_tokens=output_tokens)
    # Told at the beginning or on the way: the prompt is right, the output has grown since.
    usage = told.filled(input_tokens=input_tokens, output_tokens=output_tokens)
    output_tokens = max(usage.output_tokens, output_tokens)
    return msgspec.structs.replace(
        usage,
        output_tokens=output_tokens,
        reasoning_tokens=min(max(usage.reasoning_tokens, hidden_tokens), output_tokens),
        estimated=True,
    )


def price_usd(
    usage: Usage, spec: ModelSpec, extras: tuple[Extra, ...] = (), n_answers: int = 1
) -> float | None:
    """Price token counts; None when a price is unknown.

    Parameters
    ----------
    extras
        What of the request changes the price.
    n_answers
        How many it asks for.
    """
    cost_usd = spec.prices.cost_usd(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        n_answers=n_answers,
    )
    if not extras or cost_usd is None:
        return cost_usd
    charged = surcharge(spec, extras)
    return None if charged is None else cost_usd * charged[0] + charged[1]


class Paid(NamedTuple):
    """What calls are booked with."""

    usage: Usage | None
    cost_usd: float | None


NOTHING_PAID = Paid(None, 0.0)


def total_usage(usages: Sequence[Usage]) -> Usage | None:
    """Return the counts of several calls together; None of none."""
    if len(usages) <= 1:
        return usages[0] if usages else None
    return Usage(
        input_tokens=sum([each.input_tokens for each in usages]),
        output_tokens=sum([each.output_tokens for each in usages]),
        cached_input_tokens=sum([each.cached_input_tokens for each in usages]),
        reasoning_tokens=sum([each.reasoning_tokens for each in usages]),
        cache_write_tokens=sum([each.cache_write_tokens for each in usages]),
        cache_write_1h_tokens=sum([each.cache_write_1h_tokens for each in usages]),
        audio_input_tokens=sum([each.audio_input_tokens for each in usages]),
        audio_output_tokens=sum([each.audio_output_tokens for each in usages]),
        estimated=any(each.estimated for each in usages),
    )
