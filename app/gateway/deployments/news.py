"""What gateways tell each other of the calls that they have under way, off the path of requests.

Several times a second each puts up how many calls of its own run at each place, and how many it has
begun, and reads what the others put up. How old a note is everybody tells by his own clock, from
when it changed: no clock of another machine matters, nor one that is set. Whoever says nothing new
for `STALE_S` is not counted any more. While the store is gone nobody hears anything, and each
goes by its own calls.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from app.gateway.deployments.balance import STALE_S
from app.gateway.deployments.pool import DeploymentPool
from app.stores.base import Board, StoreError

_FORGOTTEN_S = 30.0
"""After which the note of a process that is gone is taken down by the others."""

_ASKED_AGAIN_S = 5.0
"""How often it is looked whether there is anything to tell, while there is not."""

_log = logging.getLogger(__name__)


class _Told(msgspec.Struct, array_like=True, gc=False):
    """What one process says of one place: calls under way, calls ever begun, and their tokens."""

    outstanding: int
    begun: int
    tokens: float


class _Note(msgspec.Struct, array_like=True, gc=False):
    """What one process says; the number tells one note from the next."""

    number: int
    places: dict[str, _Told]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Note).decode


@dataclass(slots=True)
class _Other:
    """Another process, as far as it is heard of."""

    note: _Note
    heard_at: float
    before: _Note | None = None
    passed_s: float = 0.0
    """Between the last two of its notes."""
    is_news: bool = True


@dataclass(slots=True, eq=False)
class NewsExchange:
    """Tells other gateways what this one has under way, and its pool what they have.

    Attributes
    ----------
    pool
        Returns the pool that serves now.
    clock
        Seconds that nobody sets.
    """

    board: Board
    pool: Callable[[], DeploymentPool]
    clock: Callable[[], float]
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    rng: random.Random = field(default_factory=random.SystemRandom)
    """Has processes take turns."""
    _number: int = 0
    _others: dict[str, _Other] = field(default_factory=dict)
    _gone: list[str] = field(default_factory=list)

    @property
    def n_others(self) -> int:
        """How many other processes are heard of."""
        now = self.clock()
        return sum(now - each.heard_at <= STALE_S for each in self._others.values())

    async def exchange(self) -> None:
        """Tell once, and hear.

        Raises
        ------
        StoreError
        """
        pool = self.pool()
        self._number += 1
        mine = {
            _name(key): _Told(load.outstanding, load.begun, load.tokens)
            for key, load in pool.shared_loads().items()
        }
        gone, self._gone = self._gone, []
        told = await self.board.exchange(self.name, _encode(_Note(self._number, mine)), gone=gone)
        self._hear(told, pool, self.clock())

    async def exchange_forever(self, every_s: Callable[[], float]) -> None:
        """Tell and hear until cancelled; what fails is left out.

        Parameters
        ----------
        every_s
            Returns how often, in seconds; 0: not for now.
        """
        while True:
            wait_s = every_s()
            if wait_s and self.pool().shared_loads():
                try:
                    await self.exchange()
                except StoreError as error:
                    _log.debug("no news of other gateways: %s", error)
                except Exception:  # noqa: BLE001  (the news must not stop for good)
                    _log.exception("news of other gateways could not be exchanged")
            await asyncio.sleep((wait_s or _ASKED_AGAIN_S) * self.rng.uniform(0.8, 1.2))

    def _hear(self, told: Mapping[str, bytes], pool: DeploymentPool, now: float) -> None:
        for name, text in told.items():
            if name != self.name:
                self._hear_of(name, text, now)
        self._forget(told, now)
        loads = pool.shared_loads()
        fresh = [each for each in self._others.values() if now - each.heard_at <= STALE_S]
        outstanding, begun_per_s = dict.fromkeys(loads, 0.0), dict.fromkeys(loads, 0.0)
        for key, load in loads.items():
            place = _name(key)
            for other in fresh:
                said = other.note.places.get(place)
                if said is None:
                    continue
                outstanding[key] += said.outstanding
                calls, tokens = _since(other, place, said)
                begun_per_s[key] += calls / max(other.passed_s, 1e-3)
                if load.quota is not None and other.is_news and calls:
                    load.quota.take(now, tokens, calls=calls)
        for other in self._others.values():
            other.is_news = False
        pool.heard_of_all(at=now, outstanding=outstanding, begun_per_s=begun_per_s)

    def _forget(self, told: Mapping[str, bytes], now: float) -> None:
        """Have the notes of those taken down who have said nothing for long."""
        for name, other in tuple(self._others.items()):
            if now - other.heard_at > _FORGOTTEN_S:
                del self._others[name]
                if name in told:
                    self._gone.append(name)

    def _hear_of(self, name: str, text: bytes, now: float) -> None:
        try:
            note = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.debug("a note of another gateway cannot be read: %s", error)
            return
        other = self._others.get(name)
        if other is None:
            # How old it is nobody knows yet: a process that is gone may have left it.
            self._others[name] = _Other(note, now - STALE_S - 1.0, is_news=False)
        elif note.number != other.note.number:
            other.before, other.note = other.note, note
            other.passed_s = max(0.0, now - other.heard_at)
            other.heard_at, other.is_news = now, True


def _since(other: _Other, place: str, said: _Told) -> tuple[float, float]:
    """Return how many calls a process has begun at a place since its note before, of how much."""
    before = None if other.before is None else other.before.places.get(place)
    if before is None or said.begun < before.begun:  # it has begun anew
        return 0.0, 0.0
    return float(said.begun - before.begun), max(0.0, said.tokens - before.tokens)


def _name(key: tuple[str, str]) -> str:
    return "\n".join(key)
