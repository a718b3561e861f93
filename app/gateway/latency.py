"""How long answers take: what is known of one place that serves a model, and predicted of a call.

Medians of the time to the first token and of the time per output token are learned for each size of
prompt. What nine of ten calls stay below is learned on top of that, from how far calls were off:
whatever the medians get wrong, and whatever drifts, so many stay below in the long run.

References
----------
Gibbs and Candès 2021, Adaptive Conformal Inference Under Distribution Shift, arXiv:2106.00170;
Angelopoulos, Candès and Tibshirani 2023, Conformal PID Control, arXiv:2307.16895 (its quantile
tracking, here on logarithms of ratios and with a step that follows their spread).
"""

import math
from dataclasses import dataclass, field

import msgspec

from routers.types import UPPER_QUANTILE, Latency

USUAL_OUTPUT_TOKENS = 250.0
"""Of an answer whose length nobody predicts."""

_MEMORY = 0.06
"""The weight of the newest call, once some are known: some thirty calls count."""

_FIRST_CALLS = 15
"""While fewer are known, each counts as much as any other."""

_LONG_MEMORY = 0.002
"""Of the newest call in what is usual: what is known of a place that had no calls for a while."""

_FIRST_LONG = 499
"""As `_FIRST_CALLS`, for that."""

_STEP = 2.0
"""How far a quantile moves at most with one call, in the mean distance of calls from it."""

_HALF_STEP = _STEP / 2

_FINEST = 0.01
"""The least such distance: 1 %, so that what hardly varies is followed too."""

_OWN_CALLS = 3.0
"""Calls of one size of prompt that count as much as those of all sizes together."""

_FORGOTTEN_S = 120.0
"""Without calls for so long, half of what the last ones were off from the usual is forgotten."""

_LONG_MARGIN = 0.01
"""Of the newest call in what is usual of margins."""

_PRIOR_CALLS = 4
"""What is written of a place counts as so many calls: one call, of a huge prompt, is no news of all
others."""

_SIZES = 5
"""Classes of prompts: below 256 tokens, 1,024, 4,096, 16,384, and above."""

_LEAST_S = 1e-4
"""Shorter times are no times: logarithms are taken of them."""

_MADE_GOOD = 0.05
"""Of each call, while some are owed."""

_MOST_OWED = 20.0
"""Calls; so that thousands that run at once do not make thousands after them wait."""

_PRIOR_MARGIN = math.log(1.8)
"""By how much nine of ten are taken to stay below a median of which nothing was seen."""

_PRIOR_WHOLE_MARGIN = math.log(1.25)
"""The same of whole answers, on top of the cautious estimate of their length."""


def size_of(input_tokens: float) -> int:
    """Return the class of a prompt of so many tokens, from 0 to 4."""
    if input_tokens < 256:
        return 0
    return min((int(input_tokens).bit_length() - 7) // 2, _SIZES - 1)


@dataclass(slots=True)
class Quantile:
    """One quantile of a stream of numbers, the newest ones counting most.

    It moves up by the share `p` of a step where a number lies above it, and down by the rest where
    it does not, so that over time the share `p` of all lie below, whatever their distribution. The
    step follows the mean distance of numbers from it: after a jump it runs, at rest it hardly
    moves.
    """

    p: float
    value: float
    spread: float = 0.2
    n: int = 0

    def learn(self, x: float) -> None:
        """Take one more number into account."""
        self.n = n = self.n + 1
        off, spread = x - self.value, self.spread
        rate = 1 / (n + 2) if n < _FIRST_CALLS else _MEMORY
        self.spread = spread + rate * ((off if off > 0 else -off) - spread)
        # By what was known before: else what lies far above would count for more than one.
        step = _STEP * rate * (spread if spread > _FINEST else _FINEST)  # noqa: FURB136  (a call)
        self.value += step * self.p if off > 0 else step * (self.p - 1)


@dataclass(slots=True)
class Margin:
    """What nine of ten calls stay below, and what it owes them.

    Where a place gets slower, calls that run have been promised too little before the first of them
    tells. What they miss more than newer promises would have is made good for: one in twenty misses
    until it is, instead of one in ten.
    """

    quantile: Quantile
    usual: float
    owed: float = 0.0
    """Calls that missed more (or, below 0, fewer) than were taken into account."""

    @classmethod
    def at(cls, value: float) -> "Margin":
        """Return one that begins at a prior."""
        return cls(Quantile(UPPER_QUANTILE, value), value)

    def after(self, kept: float) -> float:
        """Return it where the share `kept` of what is off from the usual still counts."""
        return self.usual + kept * (self.quantile.value - self.usual)

    def learn(self, x: float, *, kept: bool) -> None:
        """Take one more call into account.

        Parameters
        ----------
        kept
            Whether what it was promised was kept.
        """
        quantile = self.quantile
        owed = self.owed + (not kept) - (x > quantile.value)
        p = UPPER_QUANTILE
        if owed > 1 or owed < -1:
            more = _MADE_GOOD if owed > 0 else -_MADE_GOOD
            p += more
            owed -= more
        self.owed = min(max(owed, -_MOST_OWED), _MOST_OWED)
        quantile.p = p
        quantile.learn(x)
        self.usual += _LONG_MARGIN * (quantile.value - self.usual)


@dataclass(slots=True)
class Level:
    """A median of logarithms, and what is usual of it.

    A `Quantile` for one half, written out: of every call there are four.
    """

    value: float
    usual: float
    spread: float = 0.2
    n: int = 0

    @classmethod
    def at(cls, seconds: float, *, calls: int = 0) -> "Level":
        """Return one that begins at a prior, which counts as so many calls."""
        return cls(math.log(seconds), math.log(seconds), n=calls)

    def learn(self, x: float) -> None:
        """Take one more number into account."""
        n = self.n = self.n + 1
        if n == 1:
            self.value = self.usual = x
            return
        off, spread = x - self.value, self.spread
        rate = 1 / (n + 2) if n < _FIRST_CALLS else _MEMORY
        step = _HALF_STEP * rate * (spread if spread > _FINEST else _FINEST)  # noqa: FURB136
        if off > 0:
            self.spread = spread + rate * (off - spread)
            self.value += step
        else:
            self.spread = spread - rate * (off + spread)
            self.value -= step
        self.usual += (1 / (n + 1) if n < _FIRST_LONG else _LONG_MEMORY) * (x - self.usual)


class _BySize:
    """Medians for each size of prompt, and of all together for sizes of which little is known."""

    __slots__ = ("_all", "_sizes")

    def __init__(self, prior_s: float) -> None:
        self._all = Level.at(prior_s, calls=_PRIOR_CALLS)
        self._sizes = [Level.at(prior_s) for _ in range(_SIZES)]

    def learn(self, size: int, x: float) -> None:
        self._all.learn(x)
        self._sizes[size].learn(x)

    def median(self, size: int, kept: float) -> float:
        """Return the median of logarithms for a size of prompt.

        Parameters
        ----------
        kept
            The share of what is off from the usual that still counts.
        """
        every, own = self._all, self._sizes[size]
        of_all = every.usual + kept * (every.value - every.usual)
        n = own.n
        if not n:
            return of_all
        mine = own.usual + kept * (own.value - own.usual)
        return of_all + n / (n + _OWN_CALLS) * (mine - of_all)


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


class Speed:
    """How fast one place answers.

    Several threads may ask it for forecasts; one tells it of calls. Every process learns its own.

    Parameters
    ----------
    pace
        What is taken of it before the first call.
    """

    __slots__ = ("_bias", "_first", "_first_margin", "_heard_at", "_token", "_whole_margin")

    def __init__(self, pace: Pace = USUAL_PACE) -> None:
        self._first = _BySize(max(pace.ttft_s, _LEAST_S))
        self._token = _BySize(1 / pace.tokens_per_s)
        self._first_margin = Margin.at(_PRIOR_MARGIN)
        self._whole_margin = Margin.at(_PRIOR_WHOLE_MARGIN)
        self._bias = Quantile(0.5, 0.0)
        """How much longer answers take than their expected length says, as a logarithm."""
        self._heard_at = -math.inf

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
        kept = 1.0 if idle_s <= 0 else 0.5 ** (idle_s / _FORGOTTEN_S)
        first = self._first.median(size, kept)
        first_s, token_s = math.exp(first), math.exp(self._token.median(size, kept))
        expected = USUAL_OUTPUT_TOKENS if output_tokens is None else output_tokens
        middle_s = most_s = first_s + token_s * expected
        if output_tokens_upper is not None and output_tokens_upper > expected:
            most_s = first_s + token_s * output_tokens_upper
        total_s = middle_s * math.exp(self._bias.value)
        total_s_upper = most_s * math.exp(self._whole_margin.after(kept))
        # Compared by hand: calls of `min` and `max` would be a third of the time.
        total_s_upper = max(total_s_upper, total_s)
        if streams:
            first_s_upper = first_s * math.exp(self._first_margin.after(kept))
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
        if not output_tokens or output_tokens < 2:
            return
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
