"""Counters in Redis: what one request asks of all its scopes, as one script and its answer."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.redis_client.connection import Command
from app.redis_client.pipeline import Pipeline
from app.stores._rates import budget_wait_s, rate_standing, wait_s
from app.stores._redis_scripts import RedisScripts, Script
from app.stores.bounds import bounded_claims, bounded_settlements, in_known_periods
from app.stores.claims import (
    BUSY_RETRY_S,
    KEEP_SPENT_S,
    BudgetLimit,
    BudgetStanding,
    Claim,
    Refusal,
    Resource,
    Scope,
    Settlement,
    Standing,
    binds,
)
from app.stores.watch import NO_EVENTS, StoreEvents

_RESOURCES = (Resource.REQUESTS, Resource.TOKENS, Resource.CONCURRENCY, Resource.BUDGET)
"""As the scripts number them."""
_BILLION = 10**9
_NOT_IN_FLIGHT = -2
"""Stands for the limit of concurrent requests where a claim is not counted as one more of them."""
_SCAN_COUNT = 200
_NOTHING = b"\x90"
"""An empty list in MessagePack."""

# One argument costs less to make, to send and to take apart than thirty.
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[float]).decode


class RedisCounters:
    """Counters in Redis, exact across every process that shares it.

    Parameters
    ----------
    owner
        The name of this process, which begins the name of whatever it claims.
    events
        Notified of what goes wrong.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        scripts: RedisScripts,
        *,
        prefix: str,
        owner: str = "",
        events: StoreEvents = NO_EVENTS,
    ) -> None:
        self._events = events
        self._pipeline = pipeline
        self._owner = f"{owner}:" if owner else ""
        self._scripts = scripts
        self._due = f"{{{prefix}}}:due"
        self._record = f"{{{prefix}}}:r:"
        self._scope = f"{{{prefix}}}:s:"

    async def admit(
        self, request_id: str, claims: Sequence[Claim], *, lifetime_s: float
    ) -> tuple[Standing, ...] | Refusal:
        """Take what a request claims from all scopes, or nothing."""
        claims = bounded_claims(claims, self._events.bounded)
        binding = [claim for claim in claims if binds(claim)]
        if not binding:
            return tuple([Standing(scope=claim.scope) for claim in claims])
        keys = self._keys([claim.scope for claim in binding])
        asked = _encode([_asked(*each) for each in zip(keys, binding, strict=True)])
        least = _encode([claim.needed_nusd for claim in binding])
        name = self._owner + request_id
        arguments = (name, int(lifetime_s * 1e6), asked, least)
        (reply,) = await self._pipeline.call(self._call(self._scripts.admit, name, keys, arguments))
        if isinstance(reply, list):
            if reply[0] < 0:
                raise ValueError(f"request {request_id!r} is already held")
            return _refusal(binding[reply[0]], reply)
        return _standings(claims, reply)

    async def settle(self, request_id: str, settlements: Sequence[Settlement]) -> None:
        """Replace what a request claimed by what it used; a second call changes nothing."""
        if settlements:
            settlements = bounded_settlements(settlements, self._events.bounded)
            try:
                used = _encode([_used(settlement) for settlement in settlements])
            except (TypeError, ValueError, OverflowError):
                settlements = self._in_known_periods(settlements)
                used = _encode([_used(settlement) for settlement in settlements])
            keys = self._keys([settlement.scope for settlement in settlements])
            name = self._owner + request_id
            await self._pipeline.call(self._call(self._scripts.settle, name, keys, (name, used)))

    async def release_owner(self, owner: str) -> None:
        """Give back at once what the requests of a dead process claim."""
        # Of its own requests a name is followed by a colon, of its processes by a dot.
        its = re.sub(r"([\\*?\[\]])", r"\\\1", owner) + "[:.]*"
        cursor: int | None = None
        while cursor != 0:
            (reply,) = await self._pipeline.call(
                ("ZSCAN", self._due, cursor or 0, "MATCH", its, "COUNT", _SCAN_COUNT)
            )
            cursor, names = int(reply[0]), tuple(reply[1][::2])
            if names:
                await self._pipeline.call(self._call(self._scripts.release, "", (), names))

    async def standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        """Return where the limits stand, claiming nothing."""
        binding = [claim for claim in claims if binds(claim)]
        reply = _NOTHING
        if binding:
            asked = _encode(
                [
                    [
                        _or_none(claim.requests_per_minute),
                        _or_none(claim.tokens_per_minute),
                        *(budget.period_id for budget in claim.budgets),
                    ]
                    for claim in binding
                ]
            )
            keys = self._keys([claim.scope for claim in binding])
            (reply,) = await self._pipeline.call(
                self._call(self._scripts.standing, "", keys, (asked,))
            )
        return _standings(claims, reply)

    def _in_known_periods(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Leave out what cannot be booked; places and reservations are free all the same."""
        return [
            msgspec.structs.replace(
                each, budgets=in_known_periods(each.budgets, self._events.bounded)
            )
            for each in settlements
        ]

    def _keys(self, scopes: Sequence[Scope]) -> list[str]:
        # Joined by hand: formatting an enumeration costs more than all the rest.
        prefix = self._scope
        return [prefix + scope.kind + ":" + scope.name for scope in scopes]

    def _call(
        self,
        script: Script,
        name: str,
        keys: Sequence[str],
        arguments: tuple[str | int | bytes, ...],
    ) -> Command:
        record = self._record + name
        return ("EVALSHA", script.sha, 2 + len(keys), self._due, record, *keys, *arguments)


def _or_none(limit: int | None) -> int:
    return -1 if limit is None else limit


def _kept_ms(budget: BudgetLimit) -> int:
    return int((budget.ends_in_s + KEEP_SPENT_S) * 1000)


def _asked(key: str, claim: Claim) -> list[str | int]:
    asked: list[str | int] = [
        key,
        _or_none(claim.requests_per_minute),
        _or_none(claim.tokens_per_minute),
        _NOT_IN_FLIGHT if claim.more else _or_none(claim.concurrent_requests),
        claim.tokens,
        claim.reserve_nusd,
    ]
    for budget in claim.budgets:
        asked += (budget.period_id, budget.limit_nusd, _kept_ms(budget))
    return asked


def _used(settlement: Settlement) -> list[str | int]:
    used: list[str | int] = [
        settlement.tokens,
        settlement.cost_nusd,
        _or_none(settlement.tokens_per_minute),
    ]
    for budget in settlement.budgets:
        used += (budget.period_id, _kept_ms(budget))
    return used


def _standings(claims: Sequence[Claim], reply: bytes) -> tuple[Standing, ...]:
    amounts = _decode(reply)
    standings = []
    i = 0
    for claim in claims:
        if not binds(claim):
            standings.append(Standing(scope=claim.scope))
            continue
        rpm, tpm = claim.requests_per_minute, claim.tokens_per_minute
        requests, tokens, in_flight, granted = amounts[i : i + 4]
        i += 4
        budgets = []
        for budget in claim.budgets:
            reserved, billions, rest = amounts[i : i + 3]
            i += 3
            budgets.append(
                BudgetStanding(
                    period_id=budget.period_id,
                    limit_nusd=budget.limit_nusd,
                    spent_nusd=_spent_nusd(billions, rest),
                    reserved_nusd=int(reserved),
                )
            )
        standings.append(
            Standing(
                scope=claim.scope,
                requests=None if rpm is None else rate_standing(requests, rpm),
                tokens=None if tpm is None else rate_standing(tokens, tpm),
                in_flight=int(in_flight),
                budgets=tuple(budgets),
                granted_nusd=int(granted),
            )
        )
    return tuple(standings)


def _spent_nusd(billions: float, rest: float) -> int:
    return int(billions) * _BILLION + int(rest)


def _refusal(claim: Claim, reply: Sequence[Any]) -> Refusal:
    resource = _RESOURCES[reply[1]]
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
            spent_nusd = _spent_nusd(float(reply[3]), float(reply[4]))
            return Refusal(
                scope=claim.scope,
                resource=resource,
                limit=budget.limit_nusd,
                retry_after_s=budget_wait_s(budget, spent_nusd, claim.needed_nusd),
                period_id=budget.period_id,
                spent_nusd=spent_nusd,
                reserved_nusd=int(float(reply[5])),
                needed_nusd=claim.needed_nusd,
            )
