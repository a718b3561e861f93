"""What a model's answers were like while it was learned: its reference."""

from collections.abc import Iterator

import msgspec

from routers.watch.reference import RANK_TOLERANCE, Rate, Spread, upper_rate
from routers.watch.signals import Observation, Placed, Signal

TESTED_FROM = 100
"""After so many answers of a kind further ones are tested, while more of them are learned."""
CANARIES_LEARNED = 120
"""After so many canaries that it is known to answer, further ones are tested."""
KNOWN_AFTER = 2
"""A model is known to answer a canary that it answered right so many times, and never wrong."""
CANARY_RISK = 1e-3

_RATES_LEARNED = 4
"""What seldom happens is learned from so many times as many answers."""
_CANARY_TOLERANCE = 0.01
_TIME_TOLERANCE = 0.2
"""Times of answers change with the hour of the day: their mean rank may move by that."""
_MAX_KINDS = 64
"""Of requests, for each signal; the oldest are forgotten for others."""
_MAX_NAMES = 32
_LENGTHS = (-4.0, 4.0, 32)
_TIMES = (-10.0, 6.0, 64)

Compared = tuple[Signal, float, float]
"""A signal, how bad an answer is by it, in [0, 1], and the highest mean that is no change."""


class Profile(msgspec.Struct, kw_only=True, gc=False):
    """What was usual of one model at one place.

    Attributes
    ----------
    lengths, first_s, s_per_token
        Spreads by the kind of request.
    rates
        How often what happened.
    known
        Canaries → how often they were answered right before they counted as known; -1 for those
        that were answered wrong before, which are not asked again.
    canaries
        How often it was wrong about those that it knows.
    names
        What the upstream called the model that answered → how often.
    n
        Answers of requests that it was learned from.
    """

    lengths: dict[str, Spread] = {}
    first_s: dict[str, Spread] = {}
    s_per_token: dict[str, Spread] = {}
    rates: dict[Signal, Rate] = {}
    known: dict[str, int] = {}
    canaries: Rate = msgspec.field(default_factory=Rate)
    names: dict[str, int] = {}
    n: int = 0

    def compared(self, seen: Observation, *, learn_from: int) -> Iterator[Compared]:
        """Yield how an answer compares by each signal that enough is known of."""
        least = min(TESTED_FROM, learn_from)
        for signal, x, spread, tolerance in self._ranks(seen, least):
            yield signal, x, spread.bound(tolerance)
        for signal, hit in seen.events:
            rate = self.rates.get(signal)
            if rate is not None and rate.n >= least:
                yield signal, float(hit), rate.bound()
        if seen.canary is not None and self.tests_canaries:
            name, wrong = seen.canary
            if self.knows(name):
                yield Signal.CANARY, float(wrong), self._canary_bound()

    def learn(self, seen: Observation, *, learn_from: int) -> None:
        """Take in an answer, as long as there is more to learn of its kind."""
        _learn(self.lengths, seen.length, _LENGTHS, learn_from)
        _learn(self.first_s, seen.first_s, _TIMES, learn_from)
        _learn(self.s_per_token, seen.s_per_token, _TIMES, learn_from)
        for signal, hit in seen.events:
            rate = self.rates.setdefault(signal, Rate())
            if rate.n < learn_from * _RATES_LEARNED:
                rate.learn(hit)
        if seen.canary is not None:
            self._learn_canary(*seen.canary)
        elif self.n < learn_from:
            self.n += 1

    def is_new_name(self, name: str) -> bool:
        """Note who answered; return whether that is not who did so far."""
        is_new = bool(self.names) and name not in self.names
        if name in self.names or len(self.names) < _MAX_NAMES:
            self.names[name] = self.names.get(name, 0) + 1
            return is_new
        return False

    def knows(self, name: str) -> bool:
        """Return whether the model is known to answer a canary."""
        return self.known.get(name, 0) >= KNOWN_AFTER

    @property
    def tests_canaries(self) -> bool:
        """Whether enough canaries were learned."""
        return self.canaries.n >= CANARIES_LEARNED

    def _learn_canary(self, name: str, wrong: bool) -> None:  # noqa: FBT001  (what is learned)
        right = self.known.get(name, 0)
        if right < KNOWN_AFTER:
            self.known[name] = -1 if wrong or right < 0 else right + 1
        elif not self.tests_canaries:
            self.canaries.learn(wrong)

    def _canary_bound(self) -> float:
        # Their mix is always the same: nothing but the model can change what comes of them.
        return upper_rate(self.canaries.hits, self.canaries.n, CANARY_RISK) + _CANARY_TOLERANCE

    def _ranks(
        self, seen: Observation, least: int
    ) -> Iterator[tuple[Signal, float, Spread, float]]:
        spread = _known(self.lengths, seen.length, least)
        if spread is not None and seen.length is not None:
            rank = spread.rank(seen.length.value)
            yield Signal.SHORTER, 1.0 - rank, spread, RANK_TOLERANCE
            yield Signal.LONGER, rank, spread, RANK_TOLERANCE
        spread = _known(self.first_s, seen.first_s, least)
        if spread is not None and seen.first_s is not None:
            yield Signal.SLOW_START, spread.rank(seen.first_s.value), spread, _TIME_TOLERANCE
        spread = _known(self.s_per_token, seen.s_per_token, least)
        if spread is not None and seen.s_per_token is not None:
            yield Signal.SLOW_RATE, spread.rank(seen.s_per_token.value), spread, _TIME_TOLERANCE


def _known(spreads: dict[str, Spread], seen: Placed | None, least: int) -> Spread | None:
    if seen is None:
        return None
    spread = spreads.get(seen.kind)
    return None if spread is None or spread.n < least else spread


def _learn(
    spreads: dict[str, Spread],
    seen: Placed | None,
    bins: tuple[float, float, int],
    learn_from: int,
) -> None:
    if seen is None:
        return
    spread = spreads.get(seen.kind)
    if spread is None:
        if len(spreads) >= _MAX_KINDS:
            spreads.pop(next(iter(spreads)))  # of a router that does not predict any more
        spread = spreads[seen.kind] = Spread.empty(*bins)
    if spread.n < learn_from:
        spread.learn(seen.value)
