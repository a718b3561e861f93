"""One place under watch: what is known of its model, kept in a register that others add to, too."""

import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from app.gateway.request import Deployment
from app.gateway.watch.watched_answers import Place, Seen, observation_of
from app.stores.base import Registers
from routers.watch.signals import Observation
from routers.watch.watched import Change, Peers, Rule, Watched

KEPT_S = 90 * 86_400.0
"""For how long a reference outlives the last answer."""

_MAX_UNSENT = 5_000
_TRIES = 4
_FORMAT = "watch 1"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Watched).decode
_log = logging.getLogger(__name__)

Act = Callable[[Watched, float], Sequence[Change]]
"""Changes what is known of a model, at a time in seconds since the epoch."""


@dataclass(slots=True, eq=False)
class WatchedPlace:
    """One place, what is known of it, and what was seen there since.

    Attributes
    ----------
    deployment
        Of the configuration that serves.
    also
        By what other names it may answer.
    """

    place: Place
    deployment: Deployment
    also: tuple[str, ...] = ()
    known: Watched = field(default_factory=Watched)
    waiting: list[Seen | Observation] = field(default_factory=list)
    _version: str | None = None
    _unsent: deque[Observation] = field(default_factory=lambda: deque(maxlen=_MAX_UNSENT))
    """What is tested here, and stands in no register."""
    _attempt: tuple[str, int] = ("", 0)
    """The latest write's version, and how many of these it told of; it may have arrived."""
    _has_read: bool = False

    @property
    def register(self) -> str:
        """The name of its register."""
        told = "\n".join((_FORMAT, *self.place))
        return "watch-" + hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:32]

    async def keep(
        self,
        registers: Registers,
        *,
        rule: Rule,
        peers: Peers,
        now: float,
        act: Act | None = None,
        look: bool = True,
    ) -> list[Change]:
        """Test what was seen, with what others saw; return what became of the model by it.

        Parameters
        ----------
        act
            What an operator wants done besides.
        look
            Whether to look for what others saw where nothing is to be told.

        Raises
        ------
        StoreError
            What was seen is tested all the same.
        """
        waiting, self.waiting = self.waiting, []
        fresh = [
            each if isinstance(each, Observation) else observation_of(each) for each in waiting
        ]
        try:
            if look or fresh or act is not None or not self._has_read:
                await self._read(registers, rule, peers, now)
        finally:
            changes = self._test(fresh, rule, peers, now)
            self._unsent.extend(fresh)
        if act is not None:
            changes += act(self.known, now)
        for _ in range(_TRIES):
            if not (self._unsent or changes):
                break
            version = uuid.uuid4().hex
            self._attempt = version, len(self._unsent)
            put = await registers.replace(
                self.register,
                _encode(self.known),
                version=version,
                after=self._version,
                lifetime_s=KEPT_S,
            )
            if put:
                self._version = version
                self._unsent.clear()
                break
            changes = await self._read(registers, rule, peers, now)
            if act is not None:
                changes += act(self.known, now)
        return changes

    def _test(
        self, seen: Sequence[Observation], rule: Rule, peers: Peers, now: float
    ) -> list[Change]:
        known, changes = self.known, []
        for each in seen:
            changes += known.see(each, rule=rule, peers=peers, now=now)
        return changes + known.review(rule=rule, now=now)

    async def _read(
        self, registers: Registers, rule: Rule, peers: Peers, now: float
    ) -> list[Change]:
        """Know what stands in the register, and what does not yet."""
        version = await registers.version(self.register)
        self._has_read = True
        if version == self._version:
            return []
        attempted, n_told = self._attempt
        if version == attempted:
            self._version = version
            for _ in range(n_told):
                self._unsent.popleft()
            return []
        found = await registers.read(self.register)
        if found is None:
            self._version = None  # what is known here is kept anew
            return []
        try:
            known = _decode(found[1])
        except (msgspec.DecodeError, ValueError) as error:
            _log.warning("what was known of %s cannot be read: %s", " at ".join(self.place), error)
            self._version = found[0]
            return []
        self._version, self.known = found[0], known
        return self._test(tuple(self._unsent), rule, peers, now)
