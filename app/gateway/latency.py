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
from routers.decisions import Latency

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


class Known(NamedTuple):
    """What is known of a place for one size of prompts, as numbers to multiply with.

    Attributes
    ----------
    first
        Logarithm of `first_s`.
    first_s_upper
        What nine of ten first tokens stay below.
    begin_s, each_s
        What an answer takes before it is written, and for each token that is expected of it.
    begin_s_upper, each_s_upper
        What nine of ten stay below, by the cautious estimate of their length.
    """

    first: float
    first_s: float
    token_s: float
    first_s_upper: float
    begin_s: float
    each_s: float
    begin_s_upper: float
    each_s_upper: float


class Forecast(msgspec.Struct, eq=False, gc=False):
    """What is predicted of one call as it begins, to be told how it went.

    Attributes
    ----------
    latency
        From the beginning of the call on.
    """

    latency: Latency
    streams: bool
    size: int
    known: Known
    output_tokens: float | None
    """Expected of its answer; None where nobody said."""
    output_tokens_upper: float | None
    ahead_s: float = 0.0
    """What is to be waited for before the place gets to it, and says nothing of how fast it is."""
    first_s: float = math.nan
    """When the first token came; nan before, and where it comes with the last one."""


_NOTHING_KNOWN: list[Known | None] = [None] * _SIZES


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
        "_token",
        "_whole_margin",
        "known",
        "known_until",
    )

    def __init__(self, pace: Pace = USUAL_PACE) -> None:
        self._first = BySize(max(pace.ttft_s, _LEAST_S), sizes=_SIZES)
        self._token = BySize(1 / pace.tokens_per_s, sizes=_SIZES)
        self._first_margin = Margin.at(_PRIOR_MARGIN)
        self._whole_margin = Margin.at(_PRIOR_WHOLE_MARGIN)
        self._bias = Quantile(0.5, 0.0)
        """How much longer answers take than their expected length says, as a logarithm."""
        self._heard_at = -math.inf
        self.known_until = -math.inf
        self.known = [*_NOTHING_KNOWN]
        """By size, since it was heard of and in this step; None where it was not worked out."""

    def forecast(
        self,
        *,
        input_tokens: float,
        output_tokens: float | None,
        output_tokens_upper: float | None = None,
        streams: bool = True,
        ahead_s: float = 0.0,
        latency: Latency | None = None,
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
        latency
            What was predicted of this very call now, for who has asked already.
        now
            In seconds, by the clock that calls are measured with.
        """
        size = size_of(input_tokens)
        if latency is None:
            latency = self.latency(size, output_tokens, output_tokens_upper, streams, now)
            if ahead_s:
                latency = later(latency, ahead_s)
        known = self.known[size] or self.work_out(size, now)
        return Forecast(latency, streams, size, known, output_tokens, output_tokens_upper, ahead_s)

    def latency(
        self,
        size: int,
        output_tokens: float | None,
        output_tokens_upper: float | None,
        streams: bool,  # noqa: FBT001  (asked for every candidate of a request)
        now: float,
    ) -> Latency:
        """Predict how long a call will take from now on, whose prompt is of a class of sizes."""
        if now >= self.known_until:
            self.step(now)
        known = self.known[size]
        if known is None:
            known = self.work_out(size, now)
        _, first_s, _, first_s_upper, begin_s, each_s, begin_s_upper, each_s_upper = known
        # Compared by hand: calls of `min` and `max` would be a third of the time.
        if output_tokens is None:
            output_tokens = USUAL_OUTPUT_TOKENS
        if output_tokens_upper is None or output_tokens_upper < output_tokens:
            output_tokens_upper = output_tokens
        total_s = begin_s + each_s * output_tokens
        total_s_upper = begin_s_upper + each_s_upper * output_tokens_upper
        total_s_upper = max(total_s_upper, total_s)
        if not streams:
            first_s, first_s_upper = total_s, total_s_upper
        else:
            first_s = min(first_s, total_s)
            if first_s_upper < first_s:
                first_s_upper = first_s
            elif first_s_upper > total_s_upper:
                first_s_upper = total_s_upper
        return Latency(
            ttft_s=first_s,
            ttft_s_upper=first_s_upper,
            total_s=total_s,
            total_s_upper=total_s_upper,
        )

    def _idle_steps(self, now: float) -> int:
        """Return how many steps no call was heard of."""
        return int(min(max(now - self._heard_at, 0.0), _LONGEST_IDLE_S) / _IDLE_STEP_S)

    def step(self, now: float) -> None:
        """Forget what was worked out in the step before."""
        # A new one, not the old one cleared: other threads may be about to write to that.
        self.known = [*_NOTHING_KNOWN]
        steps = self._idle_steps(now)
        at_rest = steps >= _LONGEST_IDLE_S / _IDLE_STEP_S
        self.known_until = math.inf if at_rest else self._heard_at + (steps + 1) * _IDLE_STEP_S

    def work_out(self, size: int, now: float) -> Known:
        """Return what is known for a size of prompt, and keep it."""
        kept: float = 0.5 ** (self._idle_steps(now) * _IDLE_STEP_S / _FORGOTTEN_S)
        first = self._first.median(size, kept)
        first_s, token_s = math.exp(first), math.exp(self._token.median(size, kept))
        total, upper = math.exp(self._bias.value), math.exp(self._whole_margin.after(kept))
        known = self.known[size] = Known(
            first=first,
            first_s=first_s,
            token_s=token_s,
            first_s_upper=first_s * math.exp(self._first_margin.after(kept)),
            begin_s=first_s * total,
            each_s=token_s * total,
            begin_s_upper=first_s * upper,
            each_s_upper=token_s * upper,
        )
        return known

    def _heard(self, now: float) -> None:
        self._heard_at = now
        self.known = [*_NOTHING_KNOWN]
        self.known_until = now + _IDLE_STEP_S

    def first_token(self, forecast: Forecast, took_s: float, *, now: float) -> None:
        """Learn from a first token that came after so many seconds."""
        self._heard(now)
        if not forecast.streams:
            return
        kept = took_s <= forecast.latency.ttft_s_upper
        took_s -= forecast.ahead_s
        forecast.first_s = took_s
        seen = math.log(max(took_s, _LEAST_S))
        self._first_margin.learn(seen - forecast.known.first, kept=kept)
        self._first.learn(forecast.size, seen)

    def outlasted(self, forecast: Forecast, after_s: float, *, now: float) -> None:
        """Learn of a call that was given up after so long, as nothing had come of it.

        Where that is more than nine of ten were to take, it counts as one that took longer: if only
        those that are waited for counted, what nine of ten take would be learned of the quick ones.
        """
        if after_s <= forecast.latency.ttft_s_upper:
            return
        if forecast.streams:
            self.first_token(forecast, after_s, now=now)
        else:
            self.whole(forecast, after_s, output_tokens=None, now=now)

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
        self._heard(now)
        kept = took_s <= forecast.latency.total_s_upper
        took_s -= forecast.ahead_s
        expected = forecast.output_tokens
        if expected is not None:
            known, longest = forecast.known, forecast.output_tokens_upper
            if longest is None or longest < expected:
                longest = expected
            # Before what answers were off.
            middle_s = known.first_s + known.token_s * expected
            most_s = known.first_s + known.token_s * longest
            seen = math.log(max(took_s, _LEAST_S))
            self._bias.learn(seen - math.log(middle_s))
            self._whole_margin.learn(seen - math.log(most_s), kept=kept)
        if output_tokens and output_tokens >= 2:
            self._learn_token(forecast, took_s, output_tokens)

    def _learn_token(self, forecast: Forecast, took_s: float, output_tokens: float) -> None:
        """Learn from an answer that was whole after so long how fast answers are written."""
        writing_s = took_s - (forecast.first_s if forecast.streams else forecast.known.first_s)
        if not writing_s > 0:
            # Of a whole answer that came sooner than a first token was expected to.
            writing_s = took_s if not forecast.streams else _LEAST_S
        self._token.learn(forecast.size, math.log(max(writing_s / output_tokens, _LEAST_S / 10)))


def later(latency: Latency, by_s: float, by_s_upper: float | None = None) -> Latency:
    """Return what a call takes that is got to so many seconds later.

    Parameters
    ----------
    by_s_upper
        What nine of ten delays stay below; None where they vary little.
    """
    if by_s_upper is None:
        by_s_upper = by_s
    return Latency(
        ttft_s=latency.ttft_s + by_s,
        ttft_s_upper=latency.ttft_s_upper + by_s_upper,
        total_s=latency.total_s + by_s,
        total_s_upper=latency.total_s_upper + by_s_upper,
    )


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
