"""How long an answer may take, and what its time is worth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from routers.decisions import Latency

_MS = 1e3


class TimeLeft(NamedTuple):
    """How many seconds an answer that begins now may take; infinite where nothing limits them.

    Attributes
    ----------
    total_s, ttft_s
        Until it is whole, and until its first token.
    """

    total_s: float
    ttft_s: float

    def suffices(self, latency: Latency) -> bool:
        """Return whether an answer will be in time."""
        return latency.total_s_upper <= self.total_s and latency.ttft_s_upper <= self.ttft_s

    def after(self, seconds: float) -> "TimeLeft":
        """Return what is left so much later."""
        return TimeLeft(self.total_s - seconds, self.ttft_s - seconds)

    def late_s(self, latency: Latency) -> float:
        """Return by how many seconds an answer may be late; none is up to 0."""
        return max(latency.total_s_upper - self.total_s, latency.ttft_s_upper - self.ttft_s)


NO_LIMIT = TimeLeft(math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTerms:
    """Limits on the time of a request, from its arrival on, and the price of that time.

    Attributes
    ----------
    max_total_s, max_ttft_s
        Until its answer is whole, and until that begins; None: no limit.
    usd_per_s
        What a second until the answer is whole costs, in US dollars, where candidates are compared.
    """

    max_total_s: float | None = None
    max_ttft_s: float | None = None
    usd_per_s: float = 0.0
    told: Mapping[str, float] = field(init=False, compare=False)
    """The terms by the names that requests know them by."""
    has_deadline: bool = field(init=False, compare=False)
    """Whether an answer may be late."""

    def __post_init__(self) -> None:
        known = {
            "max_latency_ms": None if self.max_total_s is None else self.max_total_s * _MS,
            "max_ttft_ms": None if self.max_ttft_s is None else self.max_ttft_s * _MS,
            "latency_weight": self.usd_per_s or None,
        }
        told = {name: round(value, 9) for name, value in known.items() if value is not None}
        object.__setattr__(self, "told", told)
        has_deadline = self.max_total_s is not None or self.max_ttft_s is not None
        object.__setattr__(self, "has_deadline", has_deadline)

    @property
    def first_s(self) -> float | None:
        """What comes to its end first: where an answer is held back, it begins as it ends."""
        limits = [each for each in (self.max_total_s, self.max_ttft_s) if each is not None]
        return min(limits) if limits else None

    def left(self, elapsed_s: float) -> TimeLeft:
        """Return what is left for an answer of a request that came so many seconds ago."""
        total_s, ttft_s = self.max_total_s, self.max_ttft_s
        return TimeLeft(
            math.inf if total_s is None else total_s - elapsed_s,
            math.inf if ttft_s is None else ttft_s - elapsed_s,
        )

    def unmet(self, latency: Latency, elapsed_s: float) -> str | None:
        """Return which limits an answer that began after so long may miss, in words of headers."""
        if self.left(elapsed_s).suffices(latency):
            return None
        told = [
            f"{name}; predicted-ms={(elapsed_s + upper_s) * _MS:.0f}; limit-ms={limit_s * _MS:.0f}"
            for name, upper_s, limit_s in (
                ("latency", latency.total_s_upper, self.max_total_s),
                ("ttft", latency.ttft_s_upper, self.max_ttft_s),
            )
            if limit_s is not None and elapsed_s + upper_s > limit_s
        ]
        return ", ".join(told) or None


# Applications ask for the same ones again and again.
@lru_cache(maxsize=1_024)
def terms(
    *,
    max_total_s: float | None,
    max_ttft_s: float | None,
    usd_per_s: float | None,
    default: LatencyTerms | None,
) -> LatencyTerms | None:
    """Return what holds of a request: each of its own terms, else the default's."""
    base = default or _OPEN
    found = LatencyTerms(
        max_total_s=base.max_total_s if max_total_s is None else max_total_s,
        max_ttft_s=base.max_ttft_s if max_ttft_s is None else max_ttft_s,
        usd_per_s=base.usd_per_s if usd_per_s is None else usd_per_s,
    )
    return None if found == _OPEN else found


_OPEN = LatencyTerms()
