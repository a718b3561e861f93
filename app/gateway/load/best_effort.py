"""Best effort: of some tiers of models the best that still answers by a deadline, at today's load.

References
----------
Jha et al. 2024, Learned Best-Effort LLM Serving, arXiv:2401.07886 (tiers that step down under load;
there a network is trained by reinforcement, here rules decide, with prices fitted in simulation).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.gateway.deployments.tier_load import Expected, TierLoad
from app.gateway.load.load_price import LoadPrice

HYSTERESIS = 0.2
"""By which share of its room a full tier must have less to wait before it takes calls again."""
SAFETY = 2.0
"""How many mean service times must be left after the wait."""

PROBE_S = 15.0
"""After how long without any answer a tier that is full or slow gets one call, to learn of it."""

_PASSED = 0.1
"""Requests of which more of the deadline has passed say nothing of whether a tier is full."""
_HALF_LIFE_S = 5.0
"""Of the share of requests that go below a tier."""
_DOWN, _UP = 0.1, 0.02
"""From which share on the tier in force is the lower one, and below which it is no more."""
_STAYS_S = 30.0
"""How long it stays before it rises again."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What was chosen for a request.

    Attributes
    ----------
    tier
        From 0, the highest.
    expected
        What its answer is expected to take.
    late
        Whether no tier is expected to be in time; this one is the least late.
    """

    tier: int
    expected: Expected
    late: bool = False


@dataclass(slots=True, kw_only=True)
class BestEffort:
    """Choose tiers for requests, of one policy.

    Attributes
    ----------
    tiers
        Their models, the best one first.
    loads
        Of each tier.
    deadline_s
        Until when an answer is to be whole, where a request says nothing else.
    prices
        What a tier's load is taken to cost, in quality, by the share of its room that is waited
        for (`LoadPrice`); None goes by the order of the tiers alone.
    on_change
        Told of the tier in force before and after a change.
    """

    tiers: tuple[str, ...]
    loads: tuple[TierLoad, ...]
    deadline_s: float
    prices: LoadPrice | None = None
    on_change: Callable[[int, int], None] = lambda _before, _after: None
    tier: int = field(default=0, init=False)
    """The tier in force: the lowest that takes more than a few of the requests."""
    _closed: list[bool] = field(init=False)
    _below: list[float] = field(init=False)
    """By tier, which share of late requests went there or further down."""
    _since: float = field(default=-math.inf, init=False)
    _at: float = field(default=-math.inf, init=False)
    _mass: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._closed = [False] * len(self.tiers)
        self._below = [0.0] * len(self.tiers)

    def choose(
        self,
        now: float,
        *,
        deadline_s: float | None = None,
        passed_s: float = 0.0,
        order: Sequence[int] | None = None,
        values: Sequence[float] | None = None,
    ) -> Effort:
        """Choose a tier for a request; nothing is noted before `went`.

        Parameters
        ----------
        deadline_s
            The request's own; None for the policy's.
        passed_s
            What of it has passed.
        order
            The tiers that may take it, best first; None for all of them.
        values
            By tier, what its answer is taken to be worth: with `prices` the best value less the
            price of its load is taken, of the tiers in time.
        """
        order = range(len(self.tiers)) if order is None else order
        own = deadline_s is not None or passed_s > _PASSED * self.deadline_s
        left_s = (self.deadline_s if deadline_s is None else deadline_s) - passed_s
        best: Effort | None = None
        fastest: Effort | None = None
        most = -math.inf
        for tier in order:
            expected = self.loads[tier].expected(now)
            room_s = left_s - SAFETY * expected.service_s
            if not self._is_in_time(tier, expected.wait_upper_s, room_s, now, own=own):
                if fastest is None or expected.total_s < fastest.expected.total_s:
                    fastest = Effort(tier, expected, expected.total_s > left_s)
                continue
            if self.prices is None or values is None:
                return Effort(tier, expected)
            worth = values[tier] - self.prices.of(tier, expected.wait_upper_s / max(room_s, 1e-9))
            if worth > most:
                best, most = Effort(tier, expected), worth
        if best is not None:
            return best
        if fastest is None:
            raise ValueError("a request needs at least one tier")
        return fastest

    def at(self, tier: int, now: float, *, left_s: float) -> Effort:
        """Return what a tier is expected to take, for a request that is to stay there."""
        expected = self.loads[tier].expected(now)
        return Effort(tier, expected, expected.total_s > left_s)

    def is_in_time(self, effort: Effort, *, left_s: float) -> bool:
        """Return whether a request may stay at a tier, be it closed to new ones until it has room.

        Nothing opens or closes by it.
        """
        return effort.expected.wait_upper_s <= left_s - SAFETY * effort.expected.service_s

    def keeps(self, tier: int, chosen: Effort) -> bool:
        """Return whether a conversation keeps a tier that is in time, by the order of the tiers.

        A better one than it would be given, it does; a lower one for as long as the tier in force
        is that low, so that it does not change with the load of each moment.
        """
        return tier <= max(chosen.tier, self.tier)

    def price(self, effort: Effort, *, left_s: float) -> float:
        """Return what the load of a tier is taken to cost, in quality; nothing by the rule."""
        if self.prices is None:
            return 0.0
        room_s = left_s - SAFETY * effort.expected.service_s
        return self.prices.of(effort.tier, effort.expected.wait_upper_s / max(room_s, 1e-9))

    def went(self, effort: Effort, now: float) -> None:
        """Note that a request goes to a tier."""
        fade = 0.5 ** (max(now - self._at, 0.0) / _HALF_LIFE_S) if self._mass else 0.0
        self._at = now
        self._mass = self._mass * fade + 1.0
        # At first a few requests are no share of anything.
        share = 1.0 / max(self._mass, 10.0)
        for tier in range(1, len(self.tiers)):
            went = 1.0 if effort.tier >= tier else 0.0
            self._below[tier] += share * (went - self._below[tier])
        tier = self.tier
        while tier + 1 < len(self.tiers) and self._below[tier + 1] > _DOWN:
            tier += 1
        if now - self._since >= _STAYS_S:
            while tier and self._below[tier] < _UP:
                tier -= 1
        if tier != self.tier:
            self._since, before, self.tier = now, self.tier, tier
            self.on_change(before, tier)

    def _is_in_time(
        self, tier: int, wait_s: float, room_s: float, now: float, *, own: bool
    ) -> bool:
        fits = wait_s <= (room_s * (1 - HYSTERESIS) if self._closed[tier] else room_s)
        if own:  # what is special to a request opens and closes nothing
            return fits
        self._closed[tier] = not fits
        if fits:
            return True
        load = self.loads[tier]
        return not load.outstanding and now - load.last_end > PROBE_S
