"""Balance by what came of calls: deployments that answer get them, and those that fail lose them.

Which deployment answers best changes without notice, so the bandits forget: about `memory` calls
of a model are remembered, or as many as still hold. As published for payments (arXiv 2308.01028),
which have to choose a gateway for every transaction; discounted and sliding-window UCB after
Garivier and Moulines 2011 (arXiv 0805.3415).
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from app.gateway.deployments.adaptive_memory import Ladder
from app.gateway.deployments.balance import CallSize, Ended, News
from app.gateway.deployments.bandit_memory import Fading, Memory, Taught, Window
from app.gateway.deployments.slots import Slot
from routers.decision.best_of import best_probabilities
from routers.media.arms import VARIANT_MARK

BanditKind = Literal["discounted-thompson", "sw-thompson", "d-ucb", "sw-ucb"]
ContextName = Literal["model", "region", "size"]

ADAPTIVE_MEMORY = (100, 500, 2_500, 10_000)
"""Calls that count where nobody says how many: the most of these that late calls do not
contradict."""

_FRESH_SHARES: Mapping[BanditKind, int] = MappingProxyType(
    {"discounted-thompson": 16, "sw-thompson": 16, "d-ucb": 64, "sw-ucb": 64}
)
"""What is remembered changes by one part in so many before odds are computed anew: less where they
are computed at once, and where one deployment takes all calls meanwhile."""
_BAD_NEWS = 8.0
"""Good answers of a deployment that change odds no more than one bad answer."""
_MOST_UNTOLD = 64
"""Outcomes that are put into memory together."""
_STEADY = 1_000
"""Calls of which that is a part where it is not fixed how many count: often enough to see within
some eight bad calls that the world has changed."""
_MAX_SUBSETS = 64
"""Of deployments, whose odds are kept."""
_B, _XI = 0.15, 0.6
"""How far UCB looks above a mean. Published are B = 1 and xi > 1/2, for rewards all over [0, 1];
those of calls are near 1."""
_SIZES = ((1_000.0, "small"), (10_000.0, "middle"), (math.inf, "large"))
"""Tokens of prompts below which they are called so."""

Odds = Callable[[Sequence[tuple[float, float]]], Sequence[float]]
"""From good and bad of each arm to the chance that each takes the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BanditRule:
    """How a bandit learns.

    Attributes
    ----------
    memory
        How many calls of the model count; infinity forgets nothing. "adaptive": as many as still
        hold (`app.gateway.deployments.adaptive_memory`).
    explore
        The share of calls that go to any deployment, by weight.
    context
        What is learned apart: of each model (a variant is one), in each region of gateways, of
        prompts of each size.
    latency_s
        How soon an answer has to begin to be wholly a good one: one that takes twice as long is
        half of one. None: how long it takes does not count.
    region
        Where this gateway stands.
    """

    kind: BanditKind = "discounted-thompson"
    memory: float | Literal["adaptive"] = "adaptive"
    explore: float = 0.01
    context: tuple[ContextName, ...] = ("model", "region")
    latency_s: float | None = None
    region: str | None = None

    def new_memory(self) -> Memory:
        """Return a memory of nothing."""
        rungs = [self._of(length) for length in self.lengths]
        return Ladder(rungs) if len(rungs) > 1 else rungs[0]

    @property
    def lengths(self) -> tuple[float, ...]:
        """How many calls count, the fewest first."""
        return ADAPTIVE_MEMORY if self.memory == "adaptive" else (self.memory,)

    def _of(self, length: float) -> Memory:
        return Window(int(length)) if self.kind.startswith("sw-") else Fading(length)


def _thompson(counts: Sequence[tuple[float, float]]) -> Sequence[float]:
    good, bad = zip(*counts, strict=True)
    found: list[float] = best_probabilities(good, bad).tolist()
    return found


def _ucb(factor: float) -> Odds:
    def odds(counts: Sequence[tuple[float, float]]) -> Sequence[float]:
        explored = factor * math.sqrt(_XI * math.log(max(math.e, sum(map(sum, counts)))))
        indexes = [
            good / (good + bad) + explored / math.sqrt(good + bad) if good + bad > 0 else math.inf
            for good, bad in counts
        ]
        most = max(indexes)
        n = indexes.count(most)
        return [1.0 / n if index == most else 0.0 for index in indexes]

    return odds


_ODDS: Mapping[BanditKind, Odds] = MappingProxyType(
    {
        "discounted-thompson": _thompson,
        "sw-thompson": _thompson,
        "d-ucb": _ucb(2 * _B),
        "sw-ucb": _ucb(2 * _B),
    }
)


@dataclass(slots=True, eq=False)
class Play:
    """One call, and how probable it was that its deployment would take it."""

    slot: Slot
    context: "Context"
    began: float
    propensity: float | None
    first_at: float = math.nan


@dataclass(frozen=True, slots=True)
class Draw:
    """From which chances deployments are drawn, as far as their outcomes are known.

    Attributes
    ----------
    news
        How much had been learned by then.
    """

    chances: Sequence[float]
    news: float


@dataclass(slots=True, eq=False)
class Context:
    """What is learned for itself: one bandit.

    Attributes
    ----------
    name
        By which gateways that share what they learn know it.
    rule
        How it learns, its region aside.
    """

    name: str
    rule: BanditRule
    _memory: Memory = field(init=False)
    _untold: list[tuple[Slot, float]] = field(default_factory=list)
    """Outcomes that the memory does not know yet: nobody asked it since."""
    _steady: float = field(init=False)
    """Of so many calls a share makes odds out of date."""
    _fresh_share: int = field(init=False)
    _n_outcomes: int = 0
    _news: float = 0.0
    """The same, bad ones counting for more."""
    _draws: dict[tuple[Slot, ...], Draw] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._memory = self.rule.new_memory()
        self._steady = _STEADY if self.rule.memory == "adaptive" else self.rule.memory
        self._fresh_share = _FRESH_SHARES[self.rule.kind]

    @property
    def memory(self) -> Memory:
        """What is remembered of all outcomes."""
        if self._untold:
            told, self._untold = self._untold, []
            self._memory.learn([(arm_of(slot), reward) for slot, reward in told])
        return self._memory

    def learn(self, slot: Slot, reward: float) -> None:
        """Take note of what came of a call, from 0 to 1."""
        self._untold.append((slot, reward))
        self._n_outcomes += 1
        self._news += _BAD_NEWS + (1.0 - _BAD_NEWS) * reward
        if len(self._untold) >= _MOST_UNTOLD:
            _ = self.memory

    def chances(self, slots: tuple[Slot, ...]) -> Sequence[float]:
        """Return with which chance each of some deployments takes the next call."""
        draw = self._draws.get(slots)
        if draw is not None:
            stale = (self._news - draw.news) * self._fresh_share
            if stale <= self._n_outcomes and stale <= self._steady:
                return draw.chances
        elif len(self._draws) >= _MAX_SUBSETS:
            self._draws.clear()
        explore = self.rule.explore
        total = sum(slot.deployment.weight for slot in slots)
        memory = self.memory.in_force()
        best = _ODDS[self.rule.kind]([memory.counts(arm_of(slot)) for slot in slots])
        chances = [
            (1.0 - explore) * each + explore * slot.deployment.weight / total
            for slot, each in zip(slots, best, strict=True)
        ]
        self._draws[slots] = Draw(chances, self._news)
        return chances

    # What is shared with other gateways (app.gateway.lessons.Learner):

    @property
    def subject(self) -> bytes:
        """What its lessons are about."""
        lengths = self.rule.lengths
        memory = lengths if len(lengths) > 1 else lengths[0]
        return f"{self.name}\n{self.rule.kind}\n{memory!r}".encode()

    def gather(self) -> tuple[Taught, int] | None:
        """Return what was learned since this was asked before, and of how many calls; once."""
        return self.memory.gather()

    def absorb(self, lesson: Taught) -> None:
        """Believe a lesson from now on, on top of what is believed."""
        self.memory.absorb(lesson)
        self._forget_draws()

    def recall(self, lesson: Taught | None) -> Callable[[], None]:
        """Return what has it believe a lesson, and nothing else."""

        def believe() -> None:
            self.memory.recall(lesson)
            self._forget_draws()

        return believe

    def read_lesson(self, state: Mapping[str, np.ndarray]) -> Taught:
        """Return the lesson of a state.

        Raises
        ------
        KeyError, ValueError
            If it is none of this kind.
        """
        return self.memory.restore(state)

    def _forget_draws(self) -> None:
        self._draws.clear()


class Bandit:
    """Draw a deployment by how probable it is that it answers best.

    The chances are computed, not only drawn from, so that every call's can be kept with it: what
    another way to balance would have made of the same calls can be told from them.

    Parameters
    ----------
    rng
        Draws.
    """

    wants_size = False
    wants_prefix = False

    def __init__(self, rng: random.Random, rule: BanditRule | None = None) -> None:
        self._rng = rng
        self.rule = BanditRule() if rule is None else rule
        self.wants_size = "size" in self.rule.context
        self._contexts: dict[tuple[str, str], Context] = {}
        self._of_all_sizes: dict[str, Context] = {}
        """By model, where prompts of all sizes are one."""
        self._drawn: tuple[Context, float] | None = None
        """What `pick` found, for `begun`, which follows it at once."""

    def contexts(self) -> list[Context]:
        """Return everything that is learned apart, as far as there were calls of it."""
        return list(self._contexts.values())

    def meet(self, model_ids: Sequence[str]) -> None:
        """Make the contexts of some models, before the first of their calls."""
        for model_id in model_ids:
            self._contexts_of(model_id)

    def mean(self, slot: Slot) -> float | None:
        """Return how good a deployment's late answers were for a model; None of none."""
        counts = [
            context.memory.counts(arm_of(slot))
            for context in self._contexts_of(slot.deployment.spec.model_id)
        ]
        good, total = sum(good for good, _ in counts), sum(map(sum, counts))
        return good / total if total > 0 else None

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:  # noqa: ARG002
        """Return one, drawn."""
        context = self._context_of(slots[0], size)
        chances = context.chances(slots if isinstance(slots, tuple) else tuple(slots))
        at, taken = self._rng.random(), len(slots) - 1
        for number, chance in enumerate(chances):
            at -= chance
            if at < 0:
                taken = number
                break
        self._drawn = context, chances[taken]
        return slots[taken]

    def heard(self, news: News) -> None:
        """Go on: how many calls run elsewhere does not matter here."""

    def begun(self, slot: Slot, now: float, size: CallSize | None) -> Play:
        """Take note that a call begins; where nothing was drawn it could go nowhere else."""
        context, chance = self._drawn or (self._context_of(slot, size), 1.0)
        self._drawn = None
        return Play(slot, context, now, chance)

    def first_token(self, call: Play, now: float) -> None:
        """Take note that its answer begins."""
        call.first_at = now

    def ended(self, call: Play, now: float, how: Ended) -> None:
        """Learn from what came of it, where that was the deployment's doing."""
        if how is Ended.FAULT:
            call.context.learn(call.slot, 0.0)
        elif how is Ended.WHOLE:
            reward, wanted_s = 1.0, self.rule.latency_s
            if wanted_s is not None:
                began = now if math.isnan(call.first_at) else call.first_at
                reward = min(1.0, wanted_s / max(began - call.began, 1e-9))
            call.context.learn(call.slot, reward)

    def _contexts_of(self, model_id: str) -> list[Context]:
        sizes = [name for _, name in _SIZES] if self.wants_size else [""]
        return [self._context(model_id, size) for size in sizes]

    def _context_of(self, slot: Slot, size: CallSize | None) -> Context:
        model_id = slot.deployment.spec.model_id
        if self.wants_size and size is not None:
            label = next(name for most, name in _SIZES if size.input_tokens < most)
            return self._context(model_id, label)
        found = self._of_all_sizes.get(model_id)
        if found is None:
            found = self._of_all_sizes[model_id] = self._context(model_id, "")
        return found

    def _context(self, model_id: str, size: str) -> Context:
        if "model" not in self.rule.context:
            model_id = model_id.partition(VARIANT_MARK)[0]
        found = self._contexts.get((model_id, size))
        if found is None:
            region = self.rule.region if "region" in self.rule.context else None
            name = "\n".join((model_id, region or "", size))
            found = self._contexts[model_id, size] = Context(name, self.rule)
        return found


def arm_of(slot: Slot) -> str:
    """Return by which name gateways share what they know of a place."""
    return "\n".join(slot.deployment.key)
