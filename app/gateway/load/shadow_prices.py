"""What models cost that are near their limits: shadow prices, found together by all replicas.

Maximising what requests are worth, under `usage <= target * limit` for every model, comes to
choosing by worth less a price for each model. The prices that do it are found by dual ascent: up
where more is used than the target, down where less is, never below 0. No I/O and no clock here.

References
----------
Boyd and Vandenberghe 2004, Convex Optimization, 5.5 and 9 (dual ascent); Balseiro et al. 2023,
The Best of Many Worlds: Dual Mirror Descent for Online Allocation Problems.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

STEP_PER_S = 0.004
"""How much a price rises in a second where twice the target is used, in quality."""
MAX_PRICE = 0.5
"""The highest price: no request should give up more quality than that for the load alone."""
HALF_LIFE_S = 5.0
"""Of what is taken as the present usage."""
_LIVES_TICKS = 4.0
"""After how many of its own ticks a replica is given up that says nothing new."""

Rates = Mapping[str, tuple[float, float]]
"""By model, requests and tokens a second."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a model takes, in all its places together; infinite where that is not limited."""

    requests_per_s: float = math.inf
    tokens_per_s: float = math.inf

    def used(self, requests_per_s: float, tokens_per_s: float) -> float:
        """Return the share of the nearer limit that some rates use."""
        return max(requests_per_s / self.requests_per_s, tokens_per_s / self.tokens_per_s)


@dataclass(slots=True)
class UsageRates:
    """What this process asks of each model, from counts that only grow."""

    _counts: dict[str, tuple[float, float]] = field(default_factory=dict)
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)

    def tick(self, counts: Mapping[str, tuple[float, float]], seconds: float) -> None:
        """Take in the counts of requests and tokens so far, so many seconds after the last ones."""
        keep = math.exp2(-seconds / HALF_LIFE_S)
        for model_id, (requests, tokens) in counts.items():
            before = self._counts.get(model_id, (requests, tokens))
            # A configuration that is read anew begins to count at 0.
            new = max(requests - before[0], 0.0), max(tokens - before[1], 0.0)
            old = self.rates.get(model_id, (0.0, 0.0))
            self.rates[model_id] = (
                keep * old[0] + (1 - keep) * new[0] / seconds,
                keep * old[1] + (1 - keep) * new[1] / seconds,
            )
            self._counts[model_id] = requests, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What replicas tell each other: the prices, and how much each of them asks of whom.

    Attributes
    ----------
    usage
        By replica: a number that changes whenever it says something, and its rates.
    """

    prices: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, tuple[int, Rates]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ShadowPrices:
    """The prices of one policy's models, as one replica knows them.

    Attributes
    ----------
    replica
        Its name among those that share the prices.
    limits
        By model, of those that have one.
    target
        Which share of a limit is to be used at most.
    """

    replica: str
    limits: Mapping[str, RateLimit]
    target: float = 0.9
    prices: dict[str, float] = field(default_factory=dict)
    """By model, in quality; only those above 0."""
    used: dict[str, float] = field(default_factory=dict)
    """By model, which share of its limit all replicas use together."""
    _number: int = 0
    _heard: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By replica, the last number that it said, and for how long it has been saying that."""
    _others: dict[str, Rates] = field(default_factory=dict)

    def step(
        self, shared: Shared | None, own: Rates, seconds: float, *, again: bool = False
    ) -> Shared:
        """Take one step, and return what the others are to know; it counts once it is kept.

        Every replica takes its part of a step, so that all of them together take whole ones, and
        all go by the same prices. Whoever cannot reach the others goes on by what they last said.

        Parameters
        ----------
        shared
            What is there now; None where that cannot be had.
        own
            What this replica asks of models.
        seconds
            Since its last step.
        again
            Whether it is the same step once more, after others came in between.
        """
        prices: Mapping[str, float] = self.prices
        if shared is not None:
            self._listen(shared, seconds, again=again)
            prices = shared.prices
        found = {}
        share = 1 / (1 + len(self._others))
        for model_id, limit in self.limits.items():
            rates = [own, *self._others.values()]
            each = [rate.get(model_id, (0.0, 0.0)) for rate in rates]
            used = limit.used(sum(r for r, _ in each), sum(t for _, t in each))
            self.used[model_id] = used
            # Beyond twice the target nothing is known but that it is far too much.
            error = min(used / self.target - 1, 1.0)
            price = prices.get(model_id, 0.0) + STEP_PER_S * seconds * share * error
            if price > 0:
                found[model_id] = min(price, MAX_PRICE)
        self.prices = found
        self._number += 1
        usage = {name: (self._heard[name][0], rates) for name, rates in self._others.items()}
        return Shared(prices=found, usage=usage | {self.replica: (self._number, own)})

    def _listen(self, shared: Shared, seconds: float, *, again: bool) -> None:
        """Note what others say; who says the same for long is gone, whatever its clock says."""
        self._others = {}
        for name, (number, rates) in shared.usage.items():
            if name == self.replica:
                continue
            last, silent_s = self._heard.get(name, (-1, 0.0))
            silent_s = 0.0 if number != last else silent_s + (0.0 if again else seconds)
            self._heard[name] = number, silent_s
            if silent_s < _LIVES_TICKS * seconds:
                self._others[name] = rates
        self._heard = {name: self._heard[name] for name in shared.usage if name in self._heard}

    def surcharges_usd(self, usd_per_quality: float) -> dict[str, float]:
        """Return what each model costs more, at a rate of quality to US dollars."""
        return {model_id: price * usd_per_quality for model_id, price in self.prices.items()}
