"""What every store can hold, and what is made of all else before it gets there.

What is booked comes, in the end, from servers that we do not run. A number beyond 64 bits ends
SQLite's writer, one beyond 2^53 is another one in Redis' Lua, and what is no number adds to
nothing. Whoever reads a usage refuses such values; here none gets by, so that nothing that a store
is told can keep it from its work.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from app.keys import MAX_NUSD
from app.stores.claims import BudgetLimit, Claim, Settlement

MAX_TOKENS = 10**9
"""Of one request; no model reads or writes so many at once."""
MAX_SUM_NUSD = 9 * 10**18
"""Of what is spent in one period: SQLite adds up whole numbers of 64 bits."""

DEFAULT_ANSWER_BYTES = 64 * 2**20
DEFAULT_ANSWER_BYTES_PER_KEY = 16 * 2**20

OnBounded = Callable[[str], None]
"""Notified of every value that had to be cut, `tokens`, `cost` or `period`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBounds:
    """How many bytes of cached answers are kept: in all, and of one key."""

    bytes: int = DEFAULT_ANSWER_BYTES
    bytes_per_key: int = DEFAULT_ANSWER_BYTES_PER_KEY

    def bytes_of(self, owner: str) -> int:
        """Return what one owner may keep; where nobody has a key, all share everything."""
        return self.bytes_per_key if owner else self.bytes


ANSWER_BOUNDS = AnswerBounds()


def count(value: object, most: int) -> int:
    """Return a value as a whole number from 0 to `most`; what is no number is 0."""
    if isinstance(value, float):
        value = round(value) if math.isfinite(value) else most if value > 0 else 0
    return min(max(int(value), 0), most) if isinstance(value, int) else 0


def bounded_settlements(settlements: Sequence[Settlement], told: OnBounded) -> Sequence[Settlement]:
    """Return what was used as a store can hold it: nearly always what was given."""
    for each in settlements:
        tokens, cost = each.tokens, each.cost_nusd
        # Not by a function: every request comes by here, in each of its scopes.
        if (
            type(tokens) is int
            and type(cost) is int
            and 0 <= tokens <= MAX_TOKENS
            and 0 <= cost <= MAX_NUSD
        ):
            continue
        return [_settlement(each, told) for each in settlements]
    return settlements


def bounded_claims(claims: Sequence[Claim], told: OnBounded) -> Sequence[Claim]:
    """Return what is asked for as a store can hold it: nearly always what was given."""
    for each in claims:
        tokens, cost, least = each.tokens, each.reserve_nusd, each.least_nusd
        if (
            type(tokens) is int
            and type(cost) is int
            and 0 <= tokens <= MAX_TOKENS
            and 0 <= cost <= MAX_NUSD
            and (least is None or (type(least) is int and 0 <= least <= MAX_NUSD))
        ):
            continue
        return [_claim(each, told) for each in claims]
    return claims


def in_known_periods(budgets: Sequence[BudgetLimit], told: OnBounded) -> tuple[BudgetLimit, ...]:
    """Return the budgets whose period has a name and an end."""
    known = tuple(
        each
        for each in budgets
        if isinstance(each.period_id, str)
        and each.period_id.isascii()
        and isinstance(each.ends_in_s, int | float)
        and math.isfinite(each.ends_in_s)
    )
    if len(known) < len(budgets):
        told("period")
    return known


def _fits(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _cut(value: object, most: int, what: str, told: OnBounded) -> int:
    if not _fits(value, most):
        told(what)
    return count(value, most)


def _settlement(settlement: Settlement, told: OnBounded) -> Settlement:
    return msgspec.structs.replace(
        settlement,
        tokens=_cut(settlement.tokens, MAX_TOKENS, "tokens", told),
        cost_nusd=_cut(settlement.cost_nusd, MAX_NUSD, "cost", told),
    )


def _claim(claim: Claim, told: OnBounded) -> Claim:
    least = claim.least_nusd
    return msgspec.structs.replace(
        claim,
        tokens=_cut(claim.tokens, MAX_TOKENS, "tokens", told),
        reserve_nusd=_cut(claim.reserve_nusd, MAX_NUSD, "cost", told),
        least_nusd=None if least is None else _cut(least, MAX_NUSD, "cost", told),
    )
