"""A virtual key as it is told to those who manage it: never its digest, its secret once."""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from app.access.issuing import IssuedKey
from app.access.terms import BudgetTerms, LimitTerms
from app.keys import NUSD_PER_USD
from app.stores._base import RateStanding, Standing


class KeyView(BaseModel):
    """A virtual key as it is told; times in seconds since the epoch."""

    object: Literal["key"] = "key"
    key_id: str
    name: str
    owner: str
    team: str | None
    status: Literal["active", "expired", "revoked"]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    old_secret_until: float | None = Field(
        description="Until when a secret that was rotated away still works."
    )
    models: list[str] | None = Field(description="null: all of them.")
    policies: list[str] | None = Field(description="null: all of them.")
    cost_quality: float | None
    least_cost_quality: float
    most_cost_quality: float
    limits: LimitTerms
    budgets: list[BudgetTerms]
    cache: bool
    metadata: dict[str, str]

    @classmethod
    def of(cls, key: IssuedKey, *, now: float) -> Self:
        """Return what is told of a key; `now` in seconds since the epoch."""
        return cls(**_fields(key, now=now))


class NewKeyView(KeyView):
    """A key with its secret, which nobody is ever told again."""

    secret: str = Field(repr=False)

    @classmethod
    def with_secret(cls, key: IssuedKey, secret: str, *, now: float) -> Self:
        """Return what is told of a key once, when its secret is made."""
        return cls(**_fields(key, now=now), secret=secret)


class RateView(BaseModel):
    """Where a limit per minute stands."""

    limit: int
    remaining: int
    reset_s: float = Field(description="Until all of it is there again, if nothing is asked.")


class BudgetView(BaseModel):
    """Where a budget stands in the period that runs now."""

    period: str = Field(description="Such as day:2026-11-22.")
    limit_usd: float
    spent_usd: float
    reserved_usd: float = Field(description="By requests that still run.")


class ScopeView(BaseModel):
    """Where the limits of one scope stand: the key's, its team's, the whole gateway's."""

    scope: str
    requests: RateView | None
    tokens: RateView | None
    in_flight: int
    budgets: list[BudgetView]

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """Return what is told of a scope."""
        return cls(
            scope=str(standing.scope),
            requests=_rate(standing.requests),
            tokens=_rate(standing.tokens),
            in_flight=standing.in_flight,
            budgets=[
                BudgetView(
                    period=each.period_id,
                    limit_usd=each.limit_nusd / NUSD_PER_USD,
                    spent_usd=each.spent_nusd / NUSD_PER_USD,
                    reserved_usd=each.reserved_nusd / NUSD_PER_USD,
                )
                for each in standing.budgets
            ],
        )


class StandingView(BaseModel):
    """Where every limit that holds for a key stands; what has no limit is not listed."""

    object: Literal["key.standing"] = "key.standing"
    key_id: str
    scopes: list[ScopeView]


def _rate(standing: RateStanding | None) -> RateView | None:
    if standing is None:
        return None
    return RateView(limit=standing.limit, remaining=standing.remaining, reset_s=standing.reset_s)


def _fields(key: IssuedKey, *, now: float) -> dict[str, Any]:
    record = key.record
    return {
        "key_id": record.key_id,
        "name": record.name,
        "owner": record.owner,
        "team": record.team,
        "status": key.status(now),
        "created_at": key.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "old_secret_until": key.old_secret_until,
        "models": _names(record.models),
        "policies": _names(record.policies),
        "cost_quality": record.cost_quality,
        "least_cost_quality": record.least_cost_quality,
        "most_cost_quality": record.most_cost_quality,
        "limits": LimitTerms.of(record.limits),
        "budgets": [BudgetTerms.of(budget) for budget in record.budgets],
        "cache": record.cache,
        "metadata": record.metadata,
    }


def _names(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
