"""A shared store that may fail, and what each feature does meanwhile.

Rates and concurrency are counted by this process alone while the shared store is down (fail local).
Budgets are not guessed: a request with a budget is refused (fail closed). Known keys live on in a
bounded cache for a while, unknown ones are refused (fail closed). Values that may be lost are
(fail open). What a request used is booked as soon as the shared store is back.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from app.stores._watched_values import (
    FallbackAnswers,
    FallbackBlobs,
    WatchedAnswers,
    WatchedRegisters,
)
from app.stores.base import (
    Counters,
    Lifecycle,
    Store,
    StoreAnsweredError,
    StoreError,
    StoreNotAskedError,
    UnusableValueError,
)
from app.stores.claims import Claim, Refusal, Settlement, Standing, binds
from app.stores.key_cache import CachedKeys, KeyTimes
from app.stores.memory import MemoryCounters
from app.stores.watch import NO_EVENTS, Feature, StoreEvents, Watch

DEFAULT_MAX_OWED = 100_000
RETRY_INTERVAL_S = 0.5
_PAID_AT_ONCE = 100

_log = logging.getLogger(__name__)


class _FallbackCounters:
    def __init__(
        self,
        shared: Counters,
        watch: Watch,
        *,
        clock: Callable[[], float],
        max_owed: int,
        events: StoreEvents,
    ) -> None:
        self._shared = shared
        self._watch = watch
        self._max_owed = max_owed
        self._lost = events.lost
        self._local = MemoryCounters(clock=clock, events=events)
        self._owed: OrderedDict[str, tuple[Settlement, ...]] = OrderedDict()

    @property
    def owed(self) -> int:
        return len(self._owed)

    async def admit(
        self, request_id: str, claims: Sequence[Claim], *, lifetime_s: float
    ) -> tuple[Standing, ...] | Refusal:
        """Ask the shared counters, else the local ones; with budgets, StoreError."""
        if not any(binds(claim) for claim in claims):
            return await self._local.admit(request_id, claims, lifetime_s=lifetime_s)
        try:
            answer = await self._shared.admit(request_id, claims, lifetime_s=lifetime_s)
        except StoreNotAskedError as error:
            failure: StoreError = error
        except StoreError as error:
            self._owe(request_id, tuple(_nothing_used(claim) for claim in claims))
            failure = error
        except asyncio.CancelledError:
            # Whoever asked is gone and will not settle; Redis may have taken the claim.
            self._owe(request_id, tuple(_nothing_used(claim) for claim in claims))
            raise
        else:
            self._watch.worked("admit")
            return answer
        if any(claim.budgets for claim in claims):
            self._watch.failed("admit", Feature.BUDGETS, failure)
            raise failure
        self._watch.failed("admit", Feature.LIMITS, failure)
        return await self._local.admit(request_id, claims, lifetime_s=lifetime_s)

    async def settle(self, request_id: str, settlements: Sequence[Settlement]) -> None:
        """Settle where it was claimed; what the shared store cannot take now, it gets later."""
        if self._local.holds(request_id, settlements):
            await self._local.settle(request_id, settlements)
            if request_id in self._owed:  # the shared store may have taken the claim unheard
                self._owed[request_id] = tuple(settlements)
            return
        # From here on a zero that was owed for a claim unheard is overtaken by the truth.
        self._owed.pop(request_id, None)
        try:
            await self._shared.settle(request_id, settlements)
        except UnusableValueError as error:
            self._lose(request_id, error)
        except StoreError as error:
            self._watch.failed("settle", Feature.BUDGETS, error)
            self._owe(request_id, tuple(settlements))
        except asyncio.CancelledError:
            self._owe(request_id, tuple(settlements))
            raise
        except Exception as error:  # noqa: BLE001  (the answer is given: nobody could help it)
            self._lose(request_id, error)
        else:
            self._watch.worked("settle")

    async def release_owner(self, owner: str) -> None:
        """Tell the shared store."""
        await self._shared.release_owner(owner)

    async def standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        """Ask the shared counters, else the local ones; with budgets, StoreError."""
        try:
            standings = await self._shared.standing(claims)
        except StoreError as error:
            budgets = any(claim.budgets for claim in claims)
            self._watch.failed("standing", Feature.BUDGETS if budgets else Feature.LIMITS, error)
            if budgets:
                raise
            return await self._local.standing(claims)
        self._watch.worked("standing")
        return standings

    async def pay(self) -> None:
        """Settle what is owed to the shared store, oldest first, until it fails again."""
        failed = False
        while self._owed and not failed:
            batch = list(islice(self._owed.items(), _PAID_AT_ONCE))
            paid = await asyncio.gather(*(self._pay(*owed) for owed in batch))
            failed = not all(paid)

    async def _pay(self, request_id: str, settlements: tuple[Settlement, ...]) -> bool:
        try:
            await self._shared.settle(request_id, settlements)
        except UnusableValueError as error:
            self._lose(request_id, error)
        except StoreError as error:
            self._watch.failed("settle", Feature.BUDGETS, error)
            if isinstance(error, StoreAnsweredError) and request_id in self._owed:
                # It may always fail, and must not stand before all others for good.
                self._owed.move_to_end(request_id)
            return False
        except Exception as error:  # noqa: BLE001  (one must not keep others from being booked)
            self._lose(request_id, error)
        else:
            self._watch.worked("settle")
        if self._owed.get(request_id) is settlements:
            del self._owed[request_id]
        return True

    def _owe(self, request_id: str, settlements: tuple[Settlement, ...]) -> None:
        self._owed[request_id] = settlements
        if len(self._owed) > self._max_owed:
            lost, _ = self._owed.popitem(last=False)
            self._lose(lost, "too much is owed")

    def _lose(self, request_id: str, why: object) -> None:
        _log.error("store: what request %s used is lost: %s", request_id, why)
        self._lost("settlements", 1)


class FallbackStore:
    """A shared store with what this process can do alone.

    Parameters
    ----------
    shared
        The store that may fail.
    key_times
        How long what is known of keys is believed.
    events
        Notified of every failed operation, and of what is lost.
    max_owed
        How many requests may wait to be settled; beyond, what the oldest used is lost and logged.
    clock
        Seconds that nobody sets.
    """

    def __init__(
        self,
        shared: Lifecycle,
        *,
        key_times: KeyTimes | None = None,
        events: StoreEvents = NO_EVENTS,
        max_owed: int = DEFAULT_MAX_OWED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        watch = Watch(events.failed)
        store = shared.store
        self._answers = True
        self._events = events
        self._counters = _FallbackCounters(
            store.counters, watch, clock=clock, max_owed=max_owed, events=events
        )
        self._store = Store(
            kind=store.kind,
            shared=store.shared,
            counters=self._counters,
            keys=CachedKeys(store.keys, watch, clock=clock, times=key_times or KeyTimes()),
            blobs=FallbackBlobs(store.blobs, watch),
            answers=FallbackAnswers(store.answers, watch),
            registers=WatchedRegisters(store.registers, watch),
            jobs=store.jobs,  # who asks for them is told, or tries again
            responses=None if store.responses is None else WatchedAnswers(store.responses, watch),
            board=store.board,  # whoever hears nothing goes by what it knows
        )
        self._payer: asyncio.Task[None] | None = None

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    @property
    def owed(self) -> int:
        """How many requests have still to be settled in the shared store."""
        return self._counters.owed

    async def open(self) -> None:
        """Open the shared store and begin to pay what will be owed."""
        await self._shared.open()
        self._payer = asyncio.create_task(self._pay_always(), name="store-payer")

    async def healthy(self) -> bool:
        """Return whether the shared store answers."""
        self._answers = await self._shared.healthy()
        return self._answers

    @property
    def problems(self) -> Mapping[str, str]:
        """Whether the shared store did not answer when it was asked last."""
        return {} if self._answers else {self._store.kind: "does not answer"}

    async def aclose(self) -> None:
        """Pay what is owed if that is possible now, and close the shared store."""
        payer, self._payer = self._payer, None
        if payer is not None:
            payer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await payer
        await self._counters.pay()
        if self._counters.owed:
            _log.error("store: what %d requests used is lost", self._counters.owed)
            self._events.lost("settlements", self._counters.owed)
        await self._shared.aclose()

    async def _pay_always(self) -> None:
        while True:
            await asyncio.sleep(RETRY_INTERVAL_S)
            await self._counters.pay()


def _nothing_used(claim: Claim) -> Settlement:
    return Settlement(
        scope=claim.scope, tokens=0, cost_nusd=0, tokens_per_minute=claim.tokens_per_minute
    )
