"""Stores of every kind behind one face, with time that passes."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from app.keys import AuditEntry, KeyRecord
from app.stores.base import Lifecycle, Store
from app.stores.claims import BudgetLimit, Claim, Refusal, Scope, ScopeKind, Settlement, Standing

DAY = "day:2026-11-22"
_ids = itertools.count()


class FakeClock:
    """Seconds since the epoch that pass when told."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(frozen=True)
class StoreUnderTest:
    """A store and how time passes for it: a fake clock, or really (Redis has its own)."""

    lifecycle: Lifecycle
    pass_time: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def store(self) -> Store:
        """The store."""
        return self.lifecycle.store

    async def while_it_lasts(self, act: Callable[[float], Awaitable[None]]) -> None:
        """Do something within a lifetime, ``act(lifetime_s)``, and let that lifetime end.

        The clock of Redis goes on meanwhile: what a busy machine could not do in its time says
        nothing, and is done anew with a longer one.
        """
        lifetime_s = 0.05
        while True:
            began, wrong = self.clock(), None
            try:
                await act(lifetime_s)
            except AssertionError as error:
                wrong = error
            if self.clock() - began < lifetime_s:
                break
            lifetime_s *= 4
        if wrong is not None:
            raise wrong
        await self.pass_time(1.2 * lifetime_s)

    async def admit(
        self, *claims: Claim, lifetime_s: float = 60.0, request_id: str | None = None
    ) -> tuple[str, tuple[Standing, ...] | Refusal]:
        """Admit a request, new unless named; return its name and the answer."""
        request_id = request_id or new_request_id()
        return request_id, await self.store.counters.admit(
            request_id, claims, lifetime_s=lifetime_s
        )

    async def admitted(
        self, *claims: Claim, lifetime_s: float = 60.0, request_id: str | None = None
    ) -> tuple[str, tuple[Standing, ...]]:
        """Admit a request that must pass."""
        request_id, answer = await self.admit(*claims, lifetime_s=lifetime_s, request_id=request_id)
        assert not isinstance(answer, Refusal), answer
        return request_id, answer

    async def refused(self, *claims: Claim) -> Refusal:
        """Admit a request that must not pass."""
        _, answer = await self.admit(*claims)
        assert isinstance(answer, Refusal), answer
        return answer

    async def settle(
        self, request_id: str, claims: Sequence[Claim], *, tokens: int = 0, cost_nusd: int = 0
    ) -> None:
        """Settle a request on every scope it claimed."""
        await self.store.counters.settle(
            request_id, [settlement(claim, tokens, cost_nusd) for claim in claims]
        )

    async def standing(self, claim: Claim) -> Standing:
        """Return where one claim's limits stand."""
        (standing,) = await self.store.counters.standing([claim])
        return standing


def settlement(claim: Claim, tokens: int, cost_nusd: int) -> Settlement:
    """Return what settles a claim."""
    return Settlement(
        scope=claim.scope,
        tokens=tokens,
        cost_nusd=cost_nusd,
        budgets=claim.budgets,
        tokens_per_minute=claim.tokens_per_minute,
    )


def new_request_id() -> str:
    """Return a name no other request of this run has."""
    return f"req-{next(_ids)}"


def new_prefix() -> str:
    """Return a prefix nobody else uses on a shared server."""
    return f"test-{next(_ids)}"


def new_scope(kind: ScopeKind = ScopeKind.KEY) -> Scope:
    """Return a scope nobody else counts on."""
    return Scope(kind, f"{kind}-{next(_ids)}")


def budget(limit_nusd: int, *, period_id: str = DAY, ends_in_s: float = 3600.0) -> BudgetLimit:
    """Return a budget in a period."""
    return BudgetLimit(period_id=period_id, limit_nusd=limit_nusd, ends_in_s=ends_in_s)


def with_cost(claim: Claim, reserve_nusd: int) -> Claim:
    """Return a claim that reserves another amount."""
    return msgspec.structs.replace(claim, reserve_nusd=reserve_nusd)


def key_record(name: str, *, created_at: float = 1_795_000_000.0, **changes: object) -> KeyRecord:
    """Return a key whose digest is made of its name."""
    fields = {
        "key_id": f"key-{name}",
        "digest": f"{name:0>64}",
        "name": name,
        "created_at": created_at,
        **changes,
    }
    return KeyRecord(**fields)  # type: ignore[arg-type]


def audit_entry(record: KeyRecord, *, done: str = "created") -> AuditEntry:
    """Return what was done to a key."""
    return AuditEntry(
        at=record.created_at,
        by="a test",
        done=done,
        key_id=record.key_id,
        name=record.name,
        version=record.version,
        changes={"name": (None, record.name)},
    )
