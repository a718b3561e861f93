"""Counters in Redis: what one request asks of several scopes, as scripts and their answers."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from app.stores._base import (
    BUSY_RETRY_S,
    KEEP_SPENT_S,
    LATE_S,
    BudgetStanding,
    Claim,
    Refusal,
    Resource,
    Scope,
    Settlement,
    Standing,
    StoreError,
    StoreNotAskedError,
    binds,
)
from app.stores._lane import Command, Lane
from app.stores._rates import budget_wait_s, rate_standing, wait_s

_HELD, _REFUSED = -1, 0


class _Script:
    """A Lua script as it is called."""

    def __init__(self, name: str) -> None:
        folder = files("app.stores") / "lua"
        scope = (folder / "scope.lua").read_text(encoding="utf-8")
        body = (folder / f"{name}.lua").read_text(encoding="utf-8")
        self.source = f"local LATE_MS = {int(LATE_S * 1000)}\n{scope}\n{body}"
        # Redis names scripts by SHA-1; nothing depends on its strength.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[str | int]) -> Command:
        """Return the command that runs it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


class RedisScripts:
    """Every script, read from the package."""

    def __init__(self) -> None:
        self.admit = _Script("admit")
        self.settle = _Script("settle")
        self.release = _Script("release")
        self.standing = _Script("standing")
        self.sources = {
            script.sha: script.source
            for script in (self.admit, self.settle, self.release, self.standing)
        }


class RedisCounters:
    """Counters in Redis, exact across every process that shares it."""

    def __init__(self, lane: Lane, scripts: RedisScripts, *, prefix: str) -> None:
        self._lane = lane
        self._scripts = scripts
        self._prefix = prefix

    async def admit(
        self, request_id: str, claims: Sequence[Claim], *, lifetime_s: float
    ) -> tuple[Standing, ...] | Refusal:
        """Take what a request claims from all scopes, or nothing."""
        binding = [claim for claim in claims if binds(claim)]
        if not binding:
            return tuple(Standing(scope=claim.scope) for claim in claims)
        lifetime_us = int(lifetime_s * 1e6)
        replies = await self._lane.call(
            *(self._admit(request_id, claim, lifetime_us) for claim in binding)
        )
        if any(reply[0] in {_HELD, _REFUSED} for reply in replies):
            return await self._give_back(request_id, binding, replies)
        granted = {
            claim.scope: _standing(claim, reply)
            for claim, reply in zip(binding, replies, strict=True)
        }
        return tuple(granted.get(claim.scope) or Standing(scope=claim.scope) for claim in claims)

    async def settle(self, request_id: str, settlements: Sequence[Settlement]) -> None:
        """Replace what a request claimed by what it used; a second call changes nothing."""
        if settlements:
            await self._lane.call(*(self._settle(request_id, each) for each in settlements))

    async def standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        """Return where the limits stand, claiming nothing."""
        binding = [claim for claim in claims if binds(claim)]
        found: dict[Scope, Standing] = {}
        if binding:
            replies = await self._lane.call(*(self._standing(claim) for claim in binding))
            for claim, reply in zip(binding, replies, strict=True):
                found[claim.scope] = _standing(claim, reply)
        return tuple(found.get(claim.scope) or Standing(scope=claim.scope) for claim in claims)

    async def _give_back(
        self, request_id: str, claims: Sequence[Claim], replies: Sequence[Any]
    ) -> Refusal:
        granted = [
            claim
            for claim, reply in zip(claims, replies, strict=True)
            if reply[0] not in {_HELD, _REFUSED}
        ]
        if granted:
            try:
                await self._lane.call(*(self._release(request_id, claim) for claim in granted))
            except StoreNotAskedError as error:
                raise StoreError(f"what was granted is not given back: {error}") from error
        if any(reply[0] == _HELD for reply in replies):
            raise ValueError(f"request {request_id!r} is already held")
        claim, reply = next(
            (claim, reply)
            for claim, reply in zip(claims, replies, strict=True)
            if reply[0] == _REFUSED
        )
        return _refusal(claim, reply)

    def _admit(self, request_id: str, claim: Claim, lifetime_us: int) -> Command:
        arguments: list[str | int] = [
            request_id,
            lifetime_us,
            _or_none(claim.requests_per_minute),
            _or_none(claim.tokens_per_minute),
            _or_none(claim.concurrent_requests),
            claim.tokens,
            claim.reserve_nusd,
        ]
        for budget in claim.budgets:
            arguments += (budget.period_id, budget.limit_nusd)
        periods = [budget.period_id for budget in claim.budgets]
        return self._scripts.admit.call(self._keys(claim.scope, periods), arguments)

    def _release(self, request_id: str, claim: Claim) -> Command:
        rpm, tpm = claim.requests_per_minute, claim.tokens_per_minute
        return self._scripts.release.call(
            self._keys(claim.scope), (request_id, _or_none(rpm), _or_none(tpm))
        )

    def _settle(self, request_id: str, settlement: Settlement) -> Command:
        periods = [budget.period_id for budget in settlement.budgets]
        return self._scripts.settle.call(
            self._keys(settlement.scope, periods),
            (
                request_id,
                settlement.tokens,
                settlement.cost_nusd,
                _or_none(settlement.tokens_per_minute),
                *(int((budget.ends_in_s + KEEP_SPENT_S) * 1000) for budget in settlement.budgets),
            ),
        )

    def _standing(self, claim: Claim) -> Command:
        periods = [budget.period_id for budget in claim.budgets]
        return self._scripts.standing.call(
            self._keys(claim.scope, periods),
            (_or_none(claim.requests_per_minute), _or_none(claim.tokens_per_minute), *periods),
        )

    def _keys(self, scope: Scope, periods: Sequence[str] = ()) -> list[str]:
        tag = f"{{{self._prefix}:{scope}}}"
        return [
            f"{tag}:state",
            f"{tag}:flight",
            f"{tag}:claims",
            f"{tag}:late",
            *(f"{tag}:spend:{period}" for period in periods),
        ]


def _or_none(limit: int | None) -> int:
    return -1 if limit is None else limit


def _standing(claim: Claim, reply: Sequence[Any]) -> Standing:
    rpm, tpm = claim.requests_per_minute, claim.tokens_per_minute
    amounts = [int(amount) for amount in reply[4:]]
    return Standing(
        scope=claim.scope,
        requests=None if rpm is None else rate_standing(float(reply[1]), rpm),
        tokens=None if tpm is None else rate_standing(float(reply[2]), tpm),
        in_flight=reply[3],
        budgets=tuple(
            BudgetStanding(
                period_id=budget.period_id,
                limit_nusd=budget.limit_nusd,
                spent_nusd=amounts[2 * i],
                reserved_nusd=amounts[2 * i + 1],
            )
            for i, budget in enumerate(claim.budgets)
        ),
    )


def _refusal(claim: Claim, reply: Sequence[Any]) -> Refusal:
    resource = Resource(reply[1].decode())
    match resource:
        case Resource.REQUESTS | Resource.TOKENS:
            cost = 1 if resource is Resource.REQUESTS else claim.tokens
            limit = (
                claim.requests_per_minute
                if resource is Resource.REQUESTS
                else claim.tokens_per_minute
            )
            assert limit is not None  # noqa: S101  (only what was asked can refuse)
            after_s = wait_s(float(reply[3]), cost, limit)
            return Refusal(scope=claim.scope, resource=resource, limit=limit, retry_after_s=after_s)
        case Resource.CONCURRENCY:
            return Refusal(
                scope=claim.scope,
                resource=resource,
                limit=claim.concurrent_requests or 0,
                retry_after_s=BUSY_RETRY_S,
            )
        case Resource.BUDGET:
            budget = claim.budgets[reply[2]]
            return Refusal(
                scope=claim.scope,
                resource=resource,
                limit=budget.limit_nusd,
                retry_after_s=budget_wait_s(budget, int(reply[3]), claim.reserve_nusd),
                period_id=budget.period_id,
            )
