"""What a deployment takes: calls a second, calls and tokens a minute, as two or three buckets.

A gateway counts what it sends itself, and what others tell that they sent; where a deployment tells
what is left, that counts. It is an estimate all the same, good enough to prefer a deployment with
room over one that would answer with a 429.
"""

import math
from collections.abc import Iterable

from app.gateway.request import Deployment
from app.providers.base import ToldLimit

_MINUTE_S = 60.0
_DEBT_S = 10.0
"""How far a bucket is overdrawn at most, if it holds less than that."""


class _Bucket:
    """Fills evenly up to `size`; may be overdrawn, within bounds."""

    __slots__ = ("deepest", "is_told", "left", "per_s", "size")

    def __init__(self, size: float, per_s: float, *, is_told: bool = False) -> None:
        self.left, self.is_told = size, is_told
        self.sized(size, per_s)

    def sized(self, size: float, per_s: float) -> None:
        self.size, self.per_s = size, per_s
        # A debt without an end would keep a deployment out long after it would take calls again:
        # what it turned away did not use it up.
        self.deepest = -max(size, _DEBT_S * per_s)

    def take(self, amount: float) -> None:
        left = self.left - amount
        # By hand: calls of `min` and `max` would be half the time.
        if left > self.size:
            left = self.size
        elif left < self.deepest:
            left = self.deepest
        self.left = left

    def missing(self, amount: float) -> float:
        """Return in how many seconds there is room; more than it holds fits where it is full."""
        return max(0.0, (min(amount, self.size) - self.left) / self.per_s)


class Quota:
    """What is left of what a deployment takes.

    Parameters
    ----------
    max_rps, requests_per_minute, tokens_per_minute
        Its limits; None does not limit. Full at the beginning.
    now
        Seconds of a clock that nobody sets; every later time is of the same one.
    """

    __slots__ = (
        *("_at", "_calls", "_calls_left", "_told", "_told_by", "_tokens", "_tokens_left"),
        "limits",
    )

    def __init__(
        self,
        *,
        max_rps: float | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        now: float,
    ) -> None:
        self.limits = (max_rps, requests_per_minute, tokens_per_minute)
        self._at = now
        self._calls: list[_Bucket] = []
        self._tokens: list[_Bucket] = []
        self._told: dict[str, _Bucket] = {}
        self._told_by = 0
        if max_rps is not None:
            # A limit below one a second still lets one call pass at a time.
            self._calls.append(_Bucket(max(1.0, max_rps), max_rps))
        if requests_per_minute is not None:
            size = float(requests_per_minute)
            self._calls.append(_Bucket(size, size / _MINUTE_S))
        if tokens_per_minute is not None:
            size = float(tokens_per_minute)
            self._tokens.append(_Bucket(size, size / _MINUTE_S))
        self._calls_left, self._tokens_left = _least(self._calls), _least(self._tokens)

    def has_room(self, tokens: float) -> bool:
        """Return whether there is room for one more call, by what was left when calls were counted.

        What came in since can only add to it: where there is none, `wait_s` looks closely.
        """
        return self._calls_left >= 1.0 and self._tokens_left >= tokens

    def wait_s(self, now: float, tokens: float) -> float:
        """Return in how many seconds there is room for one more call; 0: now."""
        if self.has_room(tokens):
            return 0.0
        self._fill(now)
        wait_s = 0.0
        for bucket in self._calls:
            if bucket.left < 1.0:
                wait_s = max(wait_s, bucket.missing(1.0))
        for bucket in self._tokens:
            if bucket.left < tokens:
                wait_s = max(wait_s, bucket.missing(tokens))
        return wait_s

    def take(self, now: float, tokens: float, *, calls: float = 1.0) -> None:
        """Count calls of so many tokens in all, whether or not there is room for them."""
        passed_s = now - self._at
        if passed_s > 0:
            self._at = now
        else:
            passed_s = 0.0
        self._calls_left = _used(self._calls, passed_s, calls)
        self._tokens_left = _used(self._tokens, passed_s, tokens)

    def settle(self, tokens: float) -> None:
        """Count so many tokens more than were taken for a call; fewer where it is negative."""
        least = math.inf
        for bucket in self._tokens:
            # Of what the deployment tells it has taken off the call already, as it counts.
            if not bucket.is_told:
                bucket.take(tokens)
            least = bucket.left if bucket.left < least else least  # noqa: FURB136  (as above)
        self._tokens_left = least

    def hear(
        self,
        limits: Iterable[ToldLimit],
        now: float,
        *,
        number: int,
        calls: int,
        tokens: float,
        retry_after_s: float | None = None,
    ) -> float:
        """Take note of what the deployment itself tells is left, as it took a call.

        It knows of calls of which nobody here does; what is told here holds besides.

        Parameters
        ----------
        number
            Which call it was of all that were sent; older news change nothing.
        calls, tokens
            What was sent after that call, of which it cannot tell yet.
        retry_after_s
            When it wants to be asked again, where it turned the call away.

        Returns
        -------
        float
            For how long it had better be left alone: until a limit of which nothing is left is
            whole, as some come back at once and not by and by, or it wants to be asked. 0: not.
        """
        if number < self._told_by:
            return 0.0
        self._told_by = number
        self._fill(now)
        spent_s = 0.0
        for each in limits:
            if each.remaining < 1 and each.reset_s is not None:
                spent_s = max(spent_s, each.reset_s)
            if each.of.startswith(("input", "output")):
                continue  # calls are counted by all their tokens together
            of_calls = each.of.startswith("requests")
            bucket = self._told.get(each.of)
            size = max(each.limit or 0.0, each.remaining, 1.0)
            if each.limit is None and bucket is not None:
                size = max(size, bucket.size)
            missing, per_s = size - each.remaining, size / _MINUTE_S
            if each.reset_s and missing > 0:
                per_s = missing / each.reset_s
            if bucket is None:
                bucket = self._told[each.of] = _Bucket(size, per_s, is_told=True)
                (self._calls if of_calls else self._tokens).append(bucket)
            bucket.sized(size, per_s)
            bucket.left = each.remaining
            spent_s = max(spent_s, bucket.missing(1.0))
            bucket.take(calls if of_calls else tokens)
        self._calls_left, self._tokens_left = _least(self._calls), _least(self._tokens)
        return spent_s if retry_after_s is None else min(spent_s, retry_after_s)

    def told_per_s(self, now: float) -> tuple[float, float]:
        """Return how many requests and tokens a second last until its told limits are whole again.

        Infinite where it tells nothing, or nothing is missing.
        """
        self._fill(now)
        return _lasting(self._calls), _lasting(self._tokens)

    def used(self, now: float) -> float:
        """Return how much of the nearest limit is used: 0 nothing, 1 all, above it is overdrawn."""
        self._fill(now)
        return max(1 - bucket.left / bucket.size for bucket in (*self._calls, *self._tokens))

    def _fill(self, now: float) -> None:
        passed_s = now - self._at
        if passed_s <= 0:
            return
        self._at = now
        for buckets in (self._calls, self._tokens):
            for bucket in buckets:
                left = bucket.left + passed_s * bucket.per_s
                bucket.left = left if left < bucket.size else bucket.size  # noqa: FURB136  (as above)
        self._calls_left, self._tokens_left = _least(self._calls), _least(self._tokens)


def _used(buckets: Iterable[_Bucket], passed_s: float, amount: float) -> float:
    """Fill buckets for a while, take an amount from each; return the least that is left in one."""
    least = math.inf
    for bucket in buckets:
        # `_Bucket.take` written out: of every call there are three.
        left, size = bucket.left + passed_s * bucket.per_s, bucket.size
        left = (left if left < size else size) - amount  # noqa: FURB136  (as above)
        if left < bucket.deepest:
            left = bucket.deepest
        elif left > size:
            left = size
        bucket.left = left
        least = left if left < least else least  # noqa: FURB136  (as above)
    return least


def _least(buckets: Iterable[_Bucket]) -> float:
    return min((each.left for each in buckets), default=math.inf)


def _lasting(buckets: Iterable[_Bucket]) -> float:
    return min(
        (
            max(each.left, 0.5) / each.missing(each.size)
            for each in buckets
            if each.is_told and each.left < each.size
        ),
        default=math.inf,
    )


def quota_of(deployments: Iterable[Deployment], now: float) -> Quota | None:
    """Return the quota of one place that several models share: of each limit the tightest."""
    places = tuple(deployments)
    limits = {
        name: min(
            (value for each in places if (value := getattr(each, name)) is not None), default=None
        )
        for name in ("max_rps", "requests_per_minute", "tokens_per_minute")
    }
    if all(limit is None for limit in limits.values()):
        return None
    return Quota(**limits, now=now)
