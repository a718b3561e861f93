"""Which mode spreads load over unlike deployments: the cheapest ones first, or all alike.

As published (Adaptive Orchestration for Inference on Heterogeneous Accelerators, arXiv 2503.20074,
and its authors' code): cost decides while there is capacity, and after one sign that there is none
all take turns, until a new load cycle begins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_STEPS_PERCENT = (5, 1, 0)
"""Weights are whole multiples of the coarsest of these that keeps cheaper units ahead."""

_MOST_LEFT_PERCENT = 10
"""Of all traffic: more than that is not left over by rounding."""


class Mode(StrEnum):
    """How load is spread; a label."""

    COST = "cost"
    """By what answers cost."""
    CAPACITY = "capacity"
    """Evenly, up to what each can take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One deployment as it stands.

    Attributes
    ----------
    usd_per_hour, max_rps
        What it costs while it is there, and the calls a second that it takes at most; both > 0.
    available
        Whether it can be called at all.
    latency_s
        How long its answers take to begin; None where none was seen lately.
    rps
        Calls a second that it gets.
    """

    usd_per_hour: float
    max_rps: float
    available: bool = True
    latency_s: float | None = None
    rps: float = 0.0

    @property
    def cost(self) -> float:
        """What capacity costs there: US dollars an hour for one call a second."""
        return self.usd_per_hour / self.max_rps


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationRule:
    """When load is spread in which way.

    Attributes
    ----------
    threshold_rps
        The capacity that the cheap units must have beyond; None: the load that they are to expect.
    poll_s
        How often it is looked whether there is capacity.
    cycle_s
        How long a load cycle is: cost decides again only as a new one begins.
    max_latency_s, max_utilisation
        The breaking point of a unit: beyond either it has no capacity left.
    """

    threshold_rps: float | None = None
    poll_s: float = 10.0
    cycle_s: float = 3600.0
    max_latency_s: float = 0.9
    max_utilisation: float = 0.8


def cost_weights(units: Sequence[Unit]) -> tuple[float, ...]:
    """Return the share of each unit where cost decides; they sum to 1, 0 where unavailable.

    Shares fall with the square of what capacity costs, and are rounded down to whole steps of 5 %.
    What is left goes to the unit that its share uses least, so that none is cold when it is
    needed. With five units of the published table that gives the weights which its authors deployed
    (40, 20, 15, 10 and 15 %), for which they print no formula. Of units that differ in their price
    alone, the cheaper one has more: where steps of 5 % would not keep that they are of 1 %, or
    none.
    """
    there = [each for each in units if each.available]
    if not there:
        return (0.0,) * len(units)
    worth = [1 / each.cost**2 for each in there]
    shares = [each / sum(worth) for each in worth]
    for step in _STEPS_PERCENT:
        weights = _rounded(there, shares, step)
        if weights is not None and _in_order(there, weights):
            break
    assert weights is not None  # noqa: S101  (a step of 0 rounds nothing)
    found = iter(weights)
    return tuple(next(found) if each.available else 0.0 for each in units)


def capacity_weights(units: Sequence[Unit]) -> tuple[float, ...]:
    """Return the share of each unit where all take equal turns; 0 where unavailable."""
    n = sum(each.available for each in units)
    return tuple(1 / n if each.available else 0.0 for each in units)


def adjusted_rps(units: Sequence[Unit]) -> tuple[float, ...]:
    """Return the calls a second that each takes its turns up to: the mean, or what it can take."""
    target = sum(each.max_rps for each in units) / len(units)
    return tuple(min(target, each.max_rps) for each in units)


class Orchestrator:
    """Keeps the mode of one model.

    Parameters
    ----------
    now
        When the first load cycle begins.
    """

    def __init__(self, rule: OrchestrationRule, now: float) -> None:
        self.rule = rule
        self.mode = Mode.COST
        self.since = now
        """When this mode began."""
        self.n_switches = 0
        self._began, self._cycle = now, 0
        self._lacked_at = -math.inf

    def poll(self, now: float, units: Sequence[Unit], *, expected_rps: float, lacked: bool) -> Mode:
        """Look at how things stand, and return the mode from now on.

        Capacity decides from the first poll that finds too little of it. Cost decides again as a
        load cycle begins, if none was lacking for as long as one lasts: so signals that alternate
        faster than that switch at most once a cycle.

        Parameters
        ----------
        expected_rps
            The load until the next poll.
        lacked
            Whether a unit turned calls away for want of capacity since the last poll.
        """
        cycle = int((now - self._began) // self.rule.cycle_s)
        begins, self._cycle = cycle > self._cycle, cycle
        if lacked or not self._suffices(units, expected_rps):
            self._lacked_at = now
            self._switch(Mode.CAPACITY, now)
        elif begins and now - self._lacked_at >= self.rule.cycle_s:
            self._switch(Mode.COST, now)
        return self.mode

    def weights(self, units: Sequence[Unit]) -> tuple[float, ...]:
        """Return the share of each unit in this mode."""
        return cost_weights(units) if self.mode is Mode.COST else capacity_weights(units)

    def limits_rps(self, units: Sequence[Unit]) -> tuple[float, ...]:
        """Return the calls a second beyond which others are preferred, of each unit."""
        if self.mode is Mode.COST:
            return tuple(each.max_rps * self.rule.max_utilisation for each in units)
        return adjusted_rps(units)

    def broken(self, unit: Unit) -> bool:
        """Return whether a unit is beyond its breaking point."""
        if unit.latency_s is not None and unit.latency_s > self.rule.max_latency_s:
            return True
        return unit.rps > unit.max_rps * self.rule.max_utilisation

    def _suffices(self, units: Sequence[Unit], expected_rps: float) -> bool:
        """Return whether the units that cost favours can be had, and take what comes to them."""
        whole = [Unit(usd_per_hour=each.usd_per_hour, max_rps=each.max_rps) for each in units]
        weights = cost_weights(whole)
        favoured = [
            (each, weight)
            for each, weight in zip(units, weights, strict=True)
            if weight >= 1 / len(units)
        ]
        if any(not each.available for each, _ in favoured):
            return False
        rps = sum(
            each.max_rps * self.rule.max_utilisation
            for each, _ in favoured
            if not self.broken(each)
        )
        wanted = self.rule.threshold_rps
        if wanted is None:
            wanted = expected_rps * sum(weight for _, weight in favoured)
        return rps > wanted

    def _switch(self, mode: Mode, now: float) -> None:
        if mode is not self.mode:
            self.mode, self.since = mode, now
            self.n_switches += 1


def _rounded(
    units: Sequence[Unit], shares: Sequence[float], step_percent: int
) -> tuple[float, ...] | None:
    """Return shares in whole steps; None where too much would be left."""
    if not step_percent:
        return tuple(shares)
    percent = [int(100 * each / step_percent + 1e-9) * step_percent for each in shares]
    left = 100 - sum(percent)
    if left > _MOST_LEFT_PERCENT:
        return None
    idle = min(range(len(units)), key=lambda each: percent[each] / units[each].max_rps)
    alike = [each for each in range(len(units)) if units[each].max_rps == units[idle].max_rps]
    cost = min(units[each].cost for each in alike)
    heirs = [each for each in alike if units[each].cost == cost]
    return tuple(
        (each + (left / len(heirs) if number in heirs else 0)) / 100
        for number, each in enumerate(percent)
    )


def _in_order(units: Sequence[Unit], weights: Sequence[float]) -> bool:
    """Return whether the cheaper of two units that differ in price alone has more."""
    pairs = list(zip(units, weights, strict=True))
    return all(
        more > less
        for cheap, more in pairs
        for dear, less in pairs
        if cheap.max_rps == dear.max_rps and cheap.cost < dear.cost
    )
