"""A virtual key as it is told to those who manage it: never its digest, its secret once."""

from collections.abc import Collection
from typing import Any, Literal, Self

import msgspec
from pydantic import BaseModel, Field

from app.access.issuing import IssuedKey
from app.access.terms import BudgetTerms, LimitTerms
from app.keys import NUSD_PER_USD, AuditEntry
from app.stores.claims import RateStanding, Standing


class KeyView(BaseModel):
    """A virtual key as it is told; times in seconds since the epoch."""

    object: Literal["key"] = "key"
    key_id: str
    name: str
    owner: str
    team: str | None
    status: Literal["active", "disabled", "expired", "revoked"]
    version: int = Field(description="Counts its changes; the ETag of the key.")
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
    priorities: list[str] | None = Field(description="null: those of its team.")
    weight: float | None = Field(description="null: that of its team.")
    disabled: bool
    metadata: dict[str, str]
    spending: list["BudgetView"] | None = Field(
        description="What the key spent of each of its budgets in the period that runs now; null "
        "where that cannot be told at the moment."
    )

    @classmethod
    def of(cls, key: IssuedKey, *, now: float, standing: Standing | None = None) -> Self:
        """Return what is told of a key.

        Parameters
        ----------
        now
            Seconds since the epoch.
        standing
            Where its own limits stand, if that is known.
        """
        return cls(**_fields(key, now=now, standing=standing))


class NewKeyView(KeyView):
    """A key with its secret, which nobody is ever told again."""

    secret: str = Field(repr=False)

    @classmethod
    def with_secret(
        cls, key: IssuedKey, secret: str, *, now: float, standing: Standing | None = None
    ) -> Self:
        """Return what is told of a key once, when its secret is made."""
        return cls(**_fields(key, now=now, standing=standing), secret=secret)


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
    left_usd: float

    @classmethod
    def all_of(cls, standing: Standing) -> list[Self]:
        """Return what is told of the budgets of a scope."""
        return [
            cls(
                period=each.period_id,
                limit_usd=each.limit_nusd / NUSD_PER_USD,
                spent_usd=each.spent_nusd / NUSD_PER_USD,
                reserved_usd=each.reserved_nusd / NUSD_PER_USD,
                left_usd=max(each.limit_nusd - each.spent_nusd - each.reserved_nusd, 0)
                / NUSD_PER_USD,
            )
            for each in standing.budgets
        ]


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
            budgets=BudgetView.all_of(standing),
        )


class AuditView(BaseModel):
    """One thing that was done to a key."""

    at: float = Field(description="Seconds since the epoch.")
    by: str
    done: Literal["created", "updated", "rotated", "revoked"]
    key_id: str
    name: str
    version: int
    changes: dict[str, tuple[Any, Any]] = Field(
        description="Term: what it was and what it is; null where it was not said."
    )

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Return what is told of an entry."""
        return cls(**msgspec.structs.asdict(entry))


class StandingView(BaseModel):
    """Where every limit that holds for a key stands; what has no limit is not listed."""

    object: Literal["key.standing"] = "key.standing"
    key_id: str
    scopes: list[ScopeView]


def _rate(standing: RateStanding | None) -> RateView | None:
    if standing is None:
        return None
    return RateView(limit=standing.limit, remaining=standing.remaining, reset_s=standing.reset_s)


def _fields(key: IssuedKey, *, now: float, standing: Standing | None) -> dict[str, Any]:
    record = key.record
    return {
        "key_id": record.key_id,
        "name": record.name,
        "owner": record.owner,
        "team": record.team,
        "status": key.status(now),
        "version": record.version,
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
        "priorities": _names(record.priorities),
        "weight": record.weight,
        "disabled": record.disabled,
        "metadata": record.metadata,
        "spending": None if standing is None else BudgetView.all_of(standing),
    }


def _names(names: Collection[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
