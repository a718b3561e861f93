"""Balance by what a prompt begins with: where its beginning was read before, it is cached.

Rendezvous hashing with bounded load: every gateway finds the same deployment for the same
beginning without asking anybody, a deployment that comes or goes moves its own prompts and no
others, and none gets more than `max_load` times its part of the calls that are under way
(Mirrokni et al. 2018, Consistent hashing with bounded loads, arXiv 1608.01350).
"""

import math
import random
import zlib
from collections.abc import Iterable, Sequence

from app.gateway.deployments.balance import CallSize, LeastOutstanding, News, Prefix
from app.gateway.deployments.slots import Load, Slot
from app.gateway.request import RouteRequest
from routers.types import Role

MAX_LOAD = 1.25
"""How many times the mean load one deployment may have."""

_CHARS = 2_048
"""Of each part of a prompt that are looked at; what comes later seldom tells prompts apart."""
_HALVED_EVERY = 2_000
"""Calls after which what was counted of openings counts half."""
_MAX_OPENINGS = 1_024
_DOUBT = 50
"""Calls of other openings that are taken to have been before the first."""
_MASK = (1 << 64) - 1


def prefix_of(request: RouteRequest) -> Prefix:
    """Return what a prompt begins with.

    The opening is what an application says to begin with, the system prompt and the tools; the
    conversation is that and what follows it first. Turns of one conversation share both.
    """
    openings, first = [], ""
    for message in request.conversation.messages:
        if message.role is not Role.SYSTEM:
            first = message.text
            break
        openings.append(message.text)
    return prefix_number(request.fields.get("tools"), openings, first)


def prefix_number(tools: bytes | None, openings: Iterable[str], first: str) -> Prefix:
    """Return numbers for what a prompt begins with, which are the same in every process."""
    number = 0 if tools is None else zlib.crc32(tools[:_CHARS])
    for text in openings:
        number = zlib.crc32(text[:_CHARS].encode("utf-8", "surrogatepass"), number)
    conversation = zlib.crc32(first[:_CHARS].encode("utf-8", "surrogatepass"), number)
    return Prefix(opening=number, conversation=conversation)


class PrefixAffinity:
    """Take the one that prompts with the same beginning went to before.

    Prompts with the same opening go to one deployment as long as it can hold them all; an opening
    with more calls than that has as many deployments as it needs, and each conversation keeps one
    of them. Where that one is full, the next in the conversation's own order takes the call.

    Parameters
    ----------
    rng
        Breaks ties where nothing is known of a prompt.
    max_load
        How many times its part of the calls under way a deployment may have.
    """

    wants_size, wants_prefix = False, True

    def __init__(self, rng: random.Random, *, max_load: float = MAX_LOAD) -> None:
        self._least_outstanding = LeastOutstanding(rng)
        self._max_load = max_load
        self._numbers: dict[Load, int] = {}
        self._calls: dict[int, float] = {}
        """How many calls began with each opening, the old ones forgotten by and by."""
        self._n_calls = 0.0

    def heard(self, news: News) -> None:
        """Take note of what other replicas do."""
        self._least_outstanding.heard(news)

    def pick(self, slots: Sequence[Slot], now: float, size: CallSize | None = None) -> Slot:
        """Return the first of the prompt's own order that is not full."""
        prefix = None if size is None else size.prefix
        if prefix is None:
            return self._least_outstanding.pick(slots, now, size)
        n_homes = self._homes(prefix.opening, len(slots))
        homes = slots
        if n_homes < len(slots):
            homes = sorted(slots, key=lambda slot: self._draw(prefix.opening, slot))[:n_homes]
        loads = self._least_outstanding.loads(slots, now)
        total, weights = 1.0, 0.0
        for slot in slots:
            weight = slot.deployment.weight
            total += loads[slot] * weight
            weights += weight
        most = self._max_load * total / weights
        chosen, first = None, math.inf
        for slot in homes:
            if _fits(loads[slot], slot.deployment.weight, most):
                draw = self._draw(prefix.conversation, slot)
                if draw < first:
                    chosen, first = slot, draw
        if chosen is not None:
            return chosen
        fitting = [slot for slot in slots if _fits(loads[slot], slot.deployment.weight, most)]
        # There is one: not all can have more than their part.
        return min(fitting or slots, key=lambda slot: self._draw(prefix.conversation, slot))

    def _homes(self, opening: int, n_slots: int) -> int:
        """Count a call of an opening; return over how many deployments its calls are spread."""
        calls = self._calls
        if self._n_calls >= _HALVED_EVERY or len(calls) >= _MAX_OPENINGS:
            kept = {each: n / 2 for each, n in calls.items() if n >= 2}
            self._calls = calls = kept if len(kept) < _MAX_OPENINGS else {}
            self._n_calls = max(1.0, self._n_calls / 2)
        mine = calls[opening] = calls.get(opening, 0.0) + 1
        self._n_calls += 1
        share = mine / (self._n_calls + _DOUBT)
        return min(n_slots, math.ceil(share * n_slots / self._max_load))

    def _draw(self, key: int, slot: Slot) -> float:
        """Return where a place stands in the order of a key: exponential, the first is its home."""
        number = self._numbers.get(slot.load)
        if number is None:
            name = "\n".join(slot.deployment.key).encode()
            number = self._numbers[slot.load] = zlib.crc32(name) << 32 | zlib.adler32(name)
        mixed = _mixed(number ^ _mixed(key + 0x9E3779B97F4A7C15))
        return -math.log((mixed + 1) / 2**64) / slot.deployment.weight


def _fits(load: float, weight: float, most: float) -> bool:
    """Return whether one more call keeps a place within its part, rounded up to whole calls."""
    return load * weight + 1.0 <= math.ceil(most * weight)


def _mixed(value: int) -> int:
    """Return 64 bits that depend on all of a number's (the finaliser of SplitMix64)."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
