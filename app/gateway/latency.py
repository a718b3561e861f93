"""How long answers take: what is known of one place that serves a model, and predicted of a call.

Medians of the time to the first token and of the time per output token are learned for each size of
prompt. What nine of ten calls stay below is learned on top of that, from how far calls were off:
whatever the medians get wrong, and whatever drifts, so many stay below in the long run.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from app.gateway.quantiles import BySize, Margin, Quantile
from routers.types import Latency

USUAL_OUTPUT_TOKENS = 250.0
"""Of an answer whose length nobody predicts."""

_FORGOTTEN_S = 120.0
"""Without calls for so long, half of what the last ones were off from the usual is forgotten."""

_IDLE_STEP_S = 2.0
"""In steps of so long it is looked at how much that is: what is known is worked out once a step."""

_LONGEST_IDLE_S = 3_600.0
"""By then nothing of it is left."""

_SIZES = 5
"""Classes of prompts: below 256 tokens, 1,024, 4,096, 16,384, and above."""

_LEAST_S = 1e-4
"""Shorter times are no times: logarithms are taken of them."""

_PRIOR_MARGIN = math.log(1.8)
"""By how much nine of ten are taken to stay below a median of which nothing was seen."""

_PRIOR_WHOLE_MARGIN = math.log(1.25)
"""The same of whole answers, on top of the cautious estimate of their length."""


def size_of(input_tokens: float) -> int:
    """Return the class of a prompt of so many tokens, from 0 to 4."""
    if input_tokens < 256:
        return 0
    return min((int(input_tokens).bit_length() - 7) // 2, _SIZES - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is known of a place before any call: seconds to the first token, and tokens a second."""

    ttft_s: float
    tokens_per_s: float


USUAL_PACE = Pace(ttft_s=0.7, tokens_per_s=50.0)
"""Of a model of which nobody says anything."""


def pace_of(
    *, ttft_s: float | None, tokens_per_s: float | None, latency_s: float | None = None
) -> Pace:
    """Return the pace of a place by what is said of it.

    Parameters
    ----------
    latency_s
        What a whole answer usually takes, for what is not said.
    """
    usual_s = USUAL_PACE.ttft_s + USUAL_OUTPUT_TOKENS / USUAL_PACE.tokens_per_s
    slower = 1.0 if latency_s is None else latency_s / usual_s
    return Pace(
        ttft_s=USUAL_PACE.ttft_s * slower if ttft_s is None else ttft_s,
        tokens_per_s=USUAL_PACE.tokens_per_s / slower if tokens_per_s is None else tokens_per_s,
    )


class Forecast(msgspec.Struct, eq=False, gc=False):
    """What is predicted of one call as it begins, to be told how it went.

    Attributes
    ----------
    latency
        From the beginning of the call on.
    """

    latency: Latency
    streams: bool
    is_described: bool
    """Whether the length of its answer was predicted."""
    size: int
    first: float
    """Logarithm of the median of the time to the first token."""
    middle_s: float
    """The whole time by the expected length of the answer, before what answers were off."""
    most_s: float
    """The same by the cautious estimate of its length."""
    ahead_s: float = 0.0
    """What is to be waited for before the place gets to it, and says nothing of how fast it is."""
    first_s: float = math.nan
    """When the first token came; nan before, and where it comes with the last one."""


class _Known(NamedTuple):
    """What is known of a place for one size of prompts, as numbers to multiply with."""

    first: float
    """Logarithm of `first_s`."""
    first_s: float
    token_s: float
    first_upper: float
    """What nine of ten first tokens stay below, to the median."""
    total: float
    """What whole answers take, to what their expected length says."""
    total_upper: float
    """What nine of ten stay below, to what the cautious estimate of their length says."""


_NOTHING_KNOWN: list[_Known | None] = [None] * _SIZES


class Speed:
    """How fast one place answers.

    Several threads may ask it for forecasts; one tells it of calls. Every process learns its own.

    Parameters
    ----------
    pace
        What is taken of it before the first call.
    """

    __slots__ = (
        "_bias",
        "_first",
        "_first_margin",
        "_heard_at",
        "_idle_steps",
        "_known",
        "_token",
        "_whole_margin",
    )

    def __init__(self, pace: Pace = USUAL_PACE) -> None:
        self._first = BySize(max(pace.ttft_s, _LEAST_S), sizes=_SIZES)
        self._token = BySize(1 / pace.tokens_per_s, sizes=_SIZES)
        self._first_margin = Margin.at(_PRIOR_MARGIN)
        self._whole_margin = Margin.at(_PRIOR_WHOLE_MARGIN)
        self._bias = Quantile(0.5, 0.0)
        """How much longer answers take than their expected length says, as a logarithm."""
        self._heard_at = -math.inf
        self._idle_steps = 0
        self._known = [*_NOTHING_KNOWN]
        """By size, since it was heard of and in this step; None where it was not worked out."""

    def forecast(
        self,
        *,
        input_tokens: float,
        output_tokens: float | None,
        output_tokens_upper: float | None = None,
        streams: bool = True,
        ahead_s: float = 0.0,
        now: float,
    ) -> Forecast:
        """Predict how long a call will take from now on.

        Parameters
        ----------
        output_tokens, output_tokens_upper
            Expected of the answer, and what nine of ten stay below; None where nobody says.
        streams
            Whether its first token comes before its last.
        ahead_s
            What is known to come first, such as the time to load the model.
        now
            In seconds, by the clock that calls are measured with.
        """
        size = size_of(input_tokens)
        idle_s = now - self._heard_at
        steps = 0
        if idle_s >= _IDLE_STEP_S:
            steps = int((idle_s if idle_s < _LONGEST_IDLE_S else _LONGEST_IDLE_S) / _IDLE_STEP_S)  # noqa: FURB136
        by_size = self._known
        if steps != self._idle_steps:
            # A new one, not the old one cleared: other threads may be about to write to that.
            by_size = self._known = [*_NOTHING_KNOWN]
            self._idle_steps = steps
        known = by_size[size]
        if known is None:
            known = by_size[size] = self._work_out(size, steps)
        first, first_s, token_s, first_upper, total, total_upper = known
        expected = USUAL_OUTPUT_TOKENS if output_tokens is None else output_tokens
        middle_s = most_s = first_s + token_s * expected
        if output_tokens_upper is not None and output_tokens_upper > expected:
            most_s = first_s + token_s * output_tokens_upper
        total_s = middle_s * total
        total_s_upper = most_s * total_upper
        # Compared by hand: calls of `min` and `max` would be a third of the time.
        total_s_upper = max(total_s_upper, total_s)
        if streams:
            first_s_upper = first_s * first_upper
            first_s = min(first_s, total_s)
            first_s_upper = max(first_s_upper, first_s)
            first_s_upper = min(first_s_upper, total_s_upper)
        else:
            first_s, first_s_upper = total_s, total_s_upper
        latency = Latency(
            ttft_s=ahead_s + first_s,
            ttft_s_upper=ahead_s + first_s_upper,
            total_s=ahead_s + total_s,
            total_s_upper=ahead_s + total_s_upper,
        )
        is_described = output_tokens is not None
        return Forecast(latency, streams, is_described, size, first, middle_s, most_s, ahead_s)

    def _work_out(self, size: int, idle_steps: int) -> _Known:
        """Return what is known for a size of prompt, after so many steps without a call."""
        kept: float = 0.5 ** (idle_steps * _IDLE_STEP_S / _FORGOTTEN_S)
        first = self._first.median(size, kept)
        return _Known(
            first=first,
            first_s=math.exp(first),
            token_s=math.exp(self._token.median(size, kept)),
            first_upper=math.exp(self._first_margin.after(kept)),
            total=math.exp(self._bias.value),
            total_upper=math.exp(self._whole_margin.after(kept)),
        )

    def first_token(self, forecast: Forecast, took_s: float, *, now: float) -> None:
        """Learn from a first token that came after so many seconds."""
        self._heard_at = now
        if not forecast.streams:
            return
        kept = took_s <= forecast.latency.ttft_s_upper
        took_s -= forecast.ahead_s
        forecast.first_s = took_s
        seen = math.log(max(took_s, _LEAST_S))
        self._first_margin.learn(seen - forecast.first, kept=kept)
        self._first.learn(forecast.size, seen)
        self._known = [*_NOTHING_KNOWN]

    def whole(
        self, forecast: Forecast, took_s: float, *, output_tokens: float | None, now: float
    ) -> None:
        """Learn from an answer that was whole after so many seconds.

        Parameters
        ----------
        output_tokens
            How long it was; None where nobody counted. Of a call that does not stream, what its
            first token is taken to have taken comes off.
        """
        self._heard_at = now
        kept = took_s <= forecast.latency.total_s_upper
        took_s -= forecast.ahead_s
        seen = math.log(max(took_s, _LEAST_S))
        if forecast.is_described:
            self._bias.learn(seen - math.log(forecast.middle_s))
            self._whole_margin.learn(seen - math.log(forecast.most_s), kept=kept)
        if output_tokens and output_tokens >= 2:
            self._learn_token(forecast, took_s, output_tokens)
        self._known = [*_NOTHING_KNOWN]

    def _learn_token(self, forecast: Forecast, took_s: float, output_tokens: float) -> None:
        """Learn from an answer that was whole after so long how fast answers are written."""
        first_s = forecast.first_s if forecast.streams else math.exp(forecast.first)
        writing_s = took_s - first_s
        if not writing_s > 0:
            # Of a whole answer that came sooner than a first token was expected to.
            writing_s = took_s if not forecast.streams else _LEAST_S
        self._token.learn(forecast.size, math.log(max(writing_s / output_tokens, _LEAST_S / 10)))


@dataclass(frozen=True, slots=True)
class Speeds:
    """The speeds of all places, by model, upstream and its name there; they outlive reloads."""

    known: dict[tuple[str, str, str], tuple[Pace, Speed]] = field(default_factory=dict)

    def of(self, place: tuple[str, str, str], pace: Pace) -> Speed:
        """Return what is known of a place; a new one, or of a new pace, begins with that."""
        known = self.known.get(place)
        if known is None or known[0] != pace:
            known = self.known[place] = pace, Speed(pace)
        return known[1]
