"""One model at one place under watch: from what its answers show to whether it is trusted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from routers.watch.detectors import Detector
from routers.watch.profile import Profile
from routers.watch.reference import RANK_TOLERANCE, tolerated
from routers.watch.signals import OF_TIME, WEIGHT, Observation, Signal

DEMOTION = 100.0
"""How much stronger than for a warning the evidence for a demotion has to be."""
RETURN_EVIDENCE = 1_000.0
"""For a model to be back; while it is not, that much comes up once in so many answers or less."""
PROBATION = 100
"""Answers after a return within which a warning is a demotion; a canary counts as five."""

_CANARY_COUNTS = 5
_SUSPECT = 100.0
"""Evidence of one signal from which on it has to clear the model again."""
_FADING = 0.05
_LEAST_RISE = 0.05
_HIGHEST = 0.96
_MAX_DOUBLINGS = 5
_LEAST_WEIGHT = 0.6
"""Of some twenty numbers."""
_RANKED = frozenset({Signal.SHORTER, Signal.LONGER, *OF_TIME})

Peers = Mapping[Signal, float]
"""How bad the answers of other models are at the moment, by signal, in [0, 1]."""


class Level(StrEnum):
    """How far a model is trusted."""

    OK = "ok"
    WARNING = "warning"
    DEMOTED = "demoted"
    RETURNING = "returning"
    """It serves again, on probation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a watch is kept.

    Attributes
    ----------
    alarm
        Answers of all models together in which a warning may be false once, at most.
    demotes
        Whether a model that has changed for the worse is demoted.
    learn_from
        How many answers of each kind a reference is made of.
    return_after_s
        After what time a demoted model is tried again whatever is known of it; twice as long each
        time that it was in vain.
    """

    alarm: float = 1e5
    demotes: bool = False
    learn_from: int = 500
    return_after_s: float = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What has become of a model.

    Attributes
    ----------
    level
        The new one; None where another model has begun to answer by its name.
    signals
        What speaks for it.
    answered
        By what name the other one answers.
    """

    level: Level | None
    signals: tuple[Signal, ...] = ()
    evidence: float = 0.0
    answered: str | None = None
    why: str = ""


class Tested(Detector, array_like=True, gc=False):
    """One signal's detector, and the mean of the latest numbers that it saw."""

    total: float = 0.0
    weight: float = 0.0

    def take(self, x: float, bound: float) -> None:
        """Take in one number, as `see` does."""
        self.see(x, bound)
        self.total += _FADING * (x - self.total)
        self.weight += _FADING * (1.0 - self.weight)

    @property
    def recent(self) -> float:
        """The mean of the latest numbers, 0 of none."""
        return self.total / self.weight if self.weight else 0.0


class Back(msgspec.Struct, array_like=True, gc=False):
    """Whether a signal clears a model again: a test whose null is that it is still as bad.

    Attributes
    ----------
    bad
        Half way between what is no change and how bad it was.
    """

    bad: float
    detector: Detector = msgspec.field(default_factory=Detector)


class Watched(msgspec.Struct, kw_only=True, gc=False):
    """What is known of one model at one place; it is kept, and shared by all who call it.

    Attributes
    ----------
    since
        When it came to its level, in seconds since the epoch.
    why
        The signals that brought it there, or who did.
    pinned
        The level that an operator holds it at.
    n_vain
        Returns in a row that ended in another demotion.
    n_probation
        Answers since it returned.
    frozen
        Whether nothing more is learned, as an operator wishes.
    """

    profile: Profile = msgspec.field(default_factory=Profile)
    detectors: dict[Signal, Tested] = {}
    back: dict[Signal, Back] = {}
    level: Level = Level.OK
    since: float = 0.0
    why: tuple[str, ...] = ()
    pinned: Level | None = None
    n_vain: int = 0
    n_probation: int = 0
    frozen: bool = False
    n_seen: int = 0
    n_canaries: int = 0

    @property
    def held(self) -> Level:
        """The level that counts."""
        return self.level if self.pinned is None else self.pinned

    def evidence(self, *, of_quality: bool = False) -> float:
        """Return how strongly everything together speaks for a change.

        Parameters
        ----------
        of_quality
            Whether times are left out.
        """
        return sum(
            WEIGHT[signal] * detector.evidence
            for signal, detector in self.detectors.items()
            if not (of_quality and signal in OF_TIME)
        )

    @property
    def return_evidence(self) -> float:
        """How strongly everything together speaks for its being back."""
        if not self.back:
            return 0.0
        return sum(each.detector.evidence for each in self.back.values()) / len(self.back)

    def see(self, seen: Observation, *, rule: Rule, peers: Peers, now: float) -> list[Change]:
        """Take in an answer; return what has become of the model by it, mostly nothing.

        Parameters
        ----------
        peers
            As known before the answer: where others' answers are as bad, it is the requests.
        now
            Seconds since the epoch.
        """
        changes = self._named(seen)
        if seen.canary is None:
            self.n_seen += 1
        else:
            self.n_canaries += 1
        is_suspect = self.level in (Level.WARNING, Level.DEMOTED)
        for signal, x, own in self.profile.compared(seen, learn_from=rule.learn_from):
            bound = max(own, _by_peers(signal, peers)) if peers else own
            detector = self.detectors.get(signal)
            if detector is None:
                detector = self.detectors[signal] = Tested()
            detector.take(x, bound)
            if is_suspect:
                self._clear(signal, x, bound)
        if self.level is Level.OK and not self.frozen:
            self.profile.learn(seen, learn_from=rule.learn_from)
        self.n_probation += 1 if seen.canary is None else _CANARY_COUNTS
        return changes + self.review(rule=rule, now=now)

    def review(self, *, rule: Rule, now: float) -> list[Change]:
        """Return what has become of the model by what is known, or by the time that went by."""
        level, why = _NEXT[self.level](self, rule, now)
        if level is self.level:
            return []
        if self.level is Level.RETURNING:
            self.n_vain = self.n_vain + 1 if level is Level.DEMOTED else 0
        return [self._moved(level, now, why=why)]

    def clear(self, *, now: float) -> Change:
        """Take back what was held against it, as an operator wishes."""
        self.pinned = None
        self.n_vain = 0
        return self._moved(Level.OK, now, why="an operator cleared it")

    def pin(self, level: Level, *, now: float) -> Change:
        """Hold it at a level, as an operator wishes."""
        self.pinned, self.since = level, now
        return Change(level=level, why="an operator pinned it")

    def _named(self, seen: Observation) -> list[Change]:
        name = seen.answered
        if name is None or not self.profile.is_new_name(name):
            return []
        return [Change(level=None, answered=name)]

    def _clear(self, signal: Signal, x: float, bound: float) -> None:
        """Have a suspected signal say whether the model is as it was."""
        back = self.back.get(signal)
        if back is None:
            if self.detectors[signal].evidence < _SUSPECT:
                return
            back = self.back[signal] = self._back(signal, bound)
        back.detector.see(1.0 - x, 1.0 - back.bad)

    def _back(self, signal: Signal, bound: float) -> Back:
        worse = max(self.detectors[signal].recent, bound + _LEAST_RISE)
        return Back(min(_HIGHEST, (bound + worse) / 2))

    def _moved(self, level: Level, now: float, *, why: str = "") -> Change:
        evidence = self.evidence()
        if level is Level.OK and self.level is Level.WARNING:
            evidence = self.return_evidence
        suspects = sorted(
            (s for s, each in self.detectors.items() if each.evidence >= _SUSPECT),
            key=lambda s: -WEIGHT[s] * self.detectors[s].evidence,
        )
        if level in (Level.OK, Level.RETURNING):
            suspects = sorted(self.back)
            self.back = {}
            for each in self.detectors.values():
                each.forget()
        self.n_probation = 0
        self.level, self.since = level, now
        self.why = tuple(each.value for each in suspects) or ((why,) if why else ())
        return Change(level=level, signals=tuple(suspects), evidence=evidence, why=why)


def tried_after_s(known: Watched, rule: Rule) -> float:
    """Return how long after its demotion a model is tried again whatever is known of it."""
    return rule.return_after_s * 2.0 ** min(known.n_vain, _MAX_DOUBLINGS)


def _from_ok(known: Watched, rule: Rule, _now: float) -> tuple[Level, str]:
    return (Level.WARNING if known.evidence() >= rule.alarm else Level.OK), ""


def _from_warning(known: Watched, rule: Rule, _now: float) -> tuple[Level, str]:
    if rule.demotes and known.evidence(of_quality=True) >= rule.alarm * DEMOTION:
        return Level.DEMOTED, ""
    return (Level.OK if known.return_evidence >= RETURN_EVIDENCE else Level.WARNING), ""


def _from_demoted(known: Watched, rule: Rule, now: float) -> tuple[Level, str]:
    if not rule.demotes:
        return Level.WARNING, "models are not demoted any more"
    if known.return_evidence >= RETURN_EVIDENCE:
        return Level.RETURNING, ""
    if now - known.since >= tried_after_s(known, rule):
        return Level.RETURNING, "a trial after its time"
    return Level.DEMOTED, ""


def _from_returning(known: Watched, rule: Rule, _now: float) -> tuple[Level, str]:
    if rule.demotes and known.evidence(of_quality=True) >= rule.alarm:
        return Level.DEMOTED, ""
    return (Level.OK if known.n_probation >= PROBATION else Level.RETURNING), ""


_NEXT: Mapping[Level, Callable[[Watched, Rule, float], tuple[Level, str]]] = {
    Level.OK: _from_ok,
    Level.WARNING: _from_warning,
    Level.DEMOTED: _from_demoted,
    Level.RETURNING: _from_returning,
}


def peers_of(others: Iterable[Watched]) -> Peers:
    """Return how bad the answers of others are at the moment, by signal.

    The mean over all of them that enough was seen of, and that nothing is held against.
    """
    found: dict[Signal, list[float]] = {}
    for each in others:
        if each.held is Level.OK:
            for signal, detector in each.detectors.items():
                if signal is not Signal.CANARY and detector.weight > _LEAST_WEIGHT:
                    found.setdefault(signal, []).append(detector.recent)
    return {signal: sum(means) / len(means) for signal, means in found.items()}


def _by_peers(signal: Signal, peers: Peers) -> float:
    """Return how bad answers may be where those of others are no better."""
    others = peers.get(signal)
    if others is None:
        return 0.0
    if signal in _RANKED:
        return min(_HIGHEST, others + RANK_TOLERANCE)
    return tolerated(others)
