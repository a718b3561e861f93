"""The watch over models: what answers show is gathered, tested now and then, kept and shared.

What is known of each model at each place stands in a register of the store. Now and then every
process adds the answers that it saw to what stands there, one process after the other: several
workers and gateways keep one watch together, over which none of them is alone. While the store
cannot be had, each goes on with what it knows.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from app.calls import CallRole
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.ledger import LedgerEntry
from app.gateway.request import Deployment
from app.gateway.watch.answered_as import is_same_model, shown
from app.gateway.watch.watched_answers import Place, place_of, seen_of
from app.gateway.watch.watched_place import Act, WatchedPlace
from app.stores.base import Registers, StoreError
from routers.watch.signals import Observation
from routers.watch.watched import Change, Level, Peers, Rule, peers_of

KEEP_EVERY_S = 2.0
"""How often what was seen is tested and shared, on average."""
MAX_WAITING = 100
"""Answers of one place between two times; of more, a part is looked at."""
_LOOK_EVERY = 5
"""So seldom is looked at a place whether others saw something there."""
_MAX_NAMES = 4_096
_IN_TIME_S = 2.0

_NOBODY: frozenset[str] = frozenset()

_log = logging.getLogger(__name__)

OnChange = Callable[[Place, Change], None]
OnMismatch = Callable[[Place], None]


class ProviderWatch:
    """Every place under watch; outlives configurations.

    Parameters
    ----------
    registers
        Where what is known is kept.
    now
        Seconds since the epoch.
    on_change
        Told what has become of a model, once wherever its register is shared.
    on_mismatch
        Told of every answer by another model than was asked for.
    """

    def __init__(
        self,
        registers: Registers,
        *,
        now: Callable[[], float] = time.time,
        on_change: OnChange = lambda *_: None,
        on_mismatch: OnMismatch = lambda _: None,
    ) -> None:
        self.now = now
        self.registers = registers
        self._on_change, self._on_mismatch = on_change, on_mismatch
        self._rule: Rule | None = None
        self._pool: DeploymentPool | None = None
        self._places: dict[Place, WatchedPlace] = {}
        self.alarmed: Mapping[Place, str] = {}
        """The levels of places where it is not ok."""
        self._demoted = _NOBODY
        self._same: dict[tuple[Place, str], bool] = {}
        self._n_times = 0
        self._using = asyncio.Lock()

    def __iter__(self) -> Iterator[WatchedPlace]:
        return iter(tuple(self._places.values()))

    @property
    def mode(self) -> Literal["off", "warn", "demote"]:
        """What becomes of a model that has changed."""
        if self._rule is None:
            return "off"
        return "demote" if self._rule.demotes else "warn"

    @property
    def rule(self) -> Rule:
        """How it is kept; of no meaning while nothing is watched."""
        return self._rule or Rule()

    @property
    def is_on(self) -> bool:
        """Whether anything is watched."""
        return self._rule is not None

    def follow(
        self,
        rule: Rule | None,
        deployments: Mapping[str, Sequence[Deployment]],
        pool: DeploymentPool,
        *,
        answers_as: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Watch what a configuration serves, from now on.

        Parameters
        ----------
        rule
            None watches nothing.
        pool
            Told which places are demoted.
        answers_as
            By what other names each model may answer.
        """
        self._rule, self._pool = rule, pool
        before, self._places, self._same = self._places, {}, {}
        for model_id, places in {} if rule is None else deployments.items():
            for each in places:
                place = (model_id, *each.key)
                known = before.get(place) or WatchedPlace(place, each)
                known.deployment, known.also = each, answers_as.get(model_id, ())
                self._places[place] = known
        self._apply()

    def demoted(self) -> frozenset[str]:
        """Return the models that are demoted wherever they are served."""
        return self._demoted

    def told(self, entry: LedgerEntry) -> str | None:
        """Return what a request's client is told of the model that answers; None: all is well."""
        answered, served = entry.response_model, entry.served
        if not self.alarmed and (served is None or served.upstream_model == answered):
            return None
        place = place_of(entry)
        if place is None:
            return None
        level = self.alarmed.get(place)
        if answered is None or self._is_same(place, answered):
            return level
        told = f"mismatch; answered={shown(answered)}"
        return told if level is None else f"{level}; {told}"

    def saw(self, entry: LedgerEntry) -> None:
        """Take note of the answer of a request that is over, or of a step of it.

        One that was held back is seen as it has come to its end, and not again as it serves.
        """
        if entry.role is CallRole.ANSWER and _was_held_back(entry):
            return
        place, answered = place_of(entry), entry.response_model
        if place is None:
            return
        if answered is not None and not self._is_same(place, answered):
            self._on_mismatch(place)
        watched = self._places.get(place)
        if watched is None or len(watched.waiting) >= MAX_WAITING:
            return
        seen = seen_of(entry, place)
        if seen is not None:
            watched.waiting.append(seen)

    def take(self, place: Place, seen: Observation) -> None:
        """Have something tested the next time."""
        watched = self._places.get(place)
        if watched is not None and len(watched.waiting) < MAX_WAITING:
            watched.waiting.append(seen)

    async def keep(self) -> None:
        """Test and share what was seen; what the store does not take is shared later."""
        async with self._using:
            self._n_times += 1
            look = self._n_times % _LOOK_EVERY == 1
            for each in self:
                await self._keep(each, look=look)
            self._apply()

    async def act(self, place: Place, act: Act) -> None:
        """Have what is known of a place changed, wherever it is served.

        Raises
        ------
        StoreError
        KeyError
            If it is not watched.
        """
        async with self._using:
            watched = self._places[place]
            changes = await watched.keep(
                self.registers,
                rule=self.rule,
                peers=self._peers(place),
                now=self.now(),
                act=act,
            )
            self._tell(place, changes)
            self._apply()

    async def keep_forever(self, wait: Callable[[], float]) -> None:
        """Keep the watch until cancelled.

        Parameters
        ----------
        wait
            Returns how long to wait until the next time, in seconds.
        """
        while True:
            try:
                await self.keep()
            except Exception:  # noqa: BLE001  (the watch must not end for good)
                _log.exception("the watch over models could not be kept")
            await asyncio.sleep(wait())

    async def keep_in_time(self) -> None:
        """Share what was seen, if that is possible now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IN_TIME_S):
                await self.keep()

    async def _keep(self, watched: WatchedPlace, *, look: bool) -> None:
        assert self._rule is not None  # noqa: S101  (there are places)
        changes: list[Change] = []
        try:
            changes = await watched.keep(
                self.registers,
                rule=self._rule,
                peers=self._peers(watched.place),
                now=self.now(),
                look=look,
            )
        except StoreError as error:
            # The store counts it, and says so once.
            _log.debug("the watch over %s waits: %s", " at ".join(watched.place), error)
        self._tell(watched.place, changes)

    def _peers(self, place: Place) -> Peers:
        return peers_of(
            each.known for each in self if each.place[0] != place[0] and each.place != place
        )

    def _tell(self, place: Place, changes: Sequence[Change]) -> None:
        for change in changes:
            self._on_change(place, change)
            _log_change(place, change)

    def _apply(self) -> None:
        """Have clients and decisions know how far each model is trusted."""
        self.alarmed = {
            each.place: each.known.held.value for each in self if each.known.held is not Level.OK
        }
        demotes = self._rule is not None and self._rule.demotes
        demoted = {
            each.place
            for each in self
            if each.known.held is Level.DEMOTED and (demotes or each.known.pinned is Level.DEMOTED)
        }
        if self._pool is not None:
            self._pool.demote(demoted)
        serving = {each.place[0] for each in self if each.place not in demoted}
        self._demoted = frozenset(place[0] for place in demoted) - serving or _NOBODY

    def _is_same(self, place: Place, answered: str) -> bool:
        same = self._same.get((place, answered))
        if same is None:
            watched = self._places.get(place)
            also = () if watched is None else watched.also
            same = any(is_same_model(each, answered, also) for each in (place[2], place[0]))
            if len(self._same) < _MAX_NAMES:
                self._same[place, answered] = same
                if not same:
                    _log.warning(
                        "model %s at %s was asked for as %s and answers as %s; "
                        "if that is right, list it under answers_as",
                        *(place[0], place[1], place[2], shown(answered)),
                    )
        return same


def _was_held_back(entry: LedgerEntry) -> bool:
    return entry.served_at >= 0 and entry.calls[entry.served_at].role is CallRole.DRAFT


def _log_change(place: Place, change: Change) -> None:
    model_id, upstream, upstream_model = place
    if change.level is None:
        _log.warning(
            "model %s at %s (%s): another state of it answers, %s",
            *(model_id, upstream, upstream_model, shown(change.answered or "")),
        )
        return
    calm = change.level in (Level.OK, Level.RETURNING)
    _log.log(
        logging.INFO if calm else logging.WARNING,
        "model %s at %s (%s) is now %s: %s; evidence %.3g",
        *(model_id, upstream, upstream_model, change.level.value),
        change.why or ", ".join(change.signals) or "nothing is held against it",
        change.evidence,
    )
