"""What may be said of a virtual key when it is made; everything else is the gateway's to set."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.config import GatewayConfig
from app.errors import InvalidRequestError
from app.keys import MAX_WEIGHT, MIN_WEIGHT, Budget, KeyRecord, Limits, OnLow, Period, Priority

MAX_LIFETIME_S = 10 * 366 * 86_400.0
"""Ten years; longer, and a key may as well never expire."""

DAY_S = 86_400.0
"""Seconds for which the old secret of a rotated key goes on working, if nothing else is said."""


def _printable(text: str) -> str:
    # It is printed to terminals, which would obey control characters.
    if not text.isprintable():
        raise ValueError("must hold printable characters only")
    return text


def _stripped(text: str) -> str:
    if text != text.strip():
        raise ValueError("must not begin or end with blanks")
    return text


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[
    str,
    Field(min_length=1, max_length=128),
    AfterValidator(_printable),
    AfterValidator(_stripped),
]
Owner = Annotated[Text, Field(max_length=256)]
Team = Annotated[Text, Field(min_length=1, max_length=128)]
Lifetime = Annotated[float, Field(gt=0, le=MAX_LIFETIME_S, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Names = Annotated[frozenset[Text], Field(min_length=1, max_length=1000)]
Priorities = Annotated[frozenset[Priority], Field(min_length=1)]
Weight = Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]
MetadataName = Annotated[Text, Field(min_length=1, max_length=64)]
MetadataText = Annotated[Text, Field(max_length=512)]
_Count = Annotated[int, Field(ge=1, le=10**12)]


class Strict(BaseModel):
    """A value from outside; a field that it does not have is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitTerms(Strict):
    """How much may be asked for at once; what is left out is not limited."""

    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None
    concurrent_requests: _Count | None = None

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Return what is told of stored limits."""
        return cls(
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_requests=limits.concurrent_requests,
        )

    def to_limits(self) -> Limits:
        """Return what is stored."""
        return Limits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrent_requests=self.concurrent_requests,
        )


class BudgetTerms(Strict):
    """How many US dollars may be spent in each day, ISO week or month, in UTC."""

    usd: Annotated[float, Field(gt=0, le=9e6, allow_inf_nan=False)]
    period: Period
    on_low: OnLow = OnLow.REJECT
    degrade_from: Share = 0.8

    @classmethod
    def of(cls, budget: Budget) -> Self:
        """Return what is told of a stored budget."""
        return cls(
            usd=budget.usd,
            period=budget.period,
            on_low=budget.on_low,
            degrade_from=budget.degrade_from,
        )

    def to_budget(self) -> Budget:
        """Return what is stored."""
        return Budget(
            usd=self.usd, period=self.period, on_low=self.on_low, degrade_from=self.degrade_from
        )


class KeyTerms(Strict):
    """A virtual key as its issuer wants it; see `KeyRecord` for what each field does."""

    name: Name
    owner: Owner = ""
    team: Team | None = None
    expires_in_s: Lifetime | None = None
    models: Names | None = None
    policies: Names | None = None
    cost_quality: Share | None = None
    least_cost_quality: Share = 0.0
    most_cost_quality: Share = 1.0
    limits: LimitTerms = LimitTerms()
    budgets: Annotated[tuple[BudgetTerms, ...], Field(max_length=3)] = ()
    cache: bool = False
    priorities: Priorities | None = None
    weight: Weight | None = None
    disabled: bool = False
    metadata: Annotated[dict[MetadataName, MetadataText], Field(max_length=16)] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.least_cost_quality > self.most_cost_quality:
            raise _crossed("least_cost_quality", "least_cost_quality is above most_cost_quality")
        default = self.cost_quality
        if default is not None and not (
            self.least_cost_quality <= default <= self.most_cost_quality
        ):
            raise _crossed(
                "cost_quality", "cost_quality is outside least_cost_quality to most_cost_quality"
            )
        periods = [budget.period for budget in self.budgets]
        if len(set(periods)) < len(periods):
            raise _crossed("budgets", "two budgets are for the same period")
        return self

    def to_record(self, *, key_id: str, digest: str, now: float) -> KeyRecord:
        """Return what is stored.

        Parameters
        ----------
        now
            Seconds since the epoch.
        """
        return KeyRecord(
            key_id=key_id,
            digest=digest,
            created_at=now,
            expires_at=None if self.expires_in_s is None else now + self.expires_in_s,
            **self.to_fields(),
        )

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of a record that are said here; all but when the key ends."""
        return {
            "name": self.name,
            "owner": self.owner,
            "team": self.team,
            "models": self.models,
            "policies": self.policies,
            "cost_quality": self.cost_quality,
            "least_cost_quality": self.least_cost_quality,
            "most_cost_quality": self.most_cost_quality,
            "limits": self.limits.to_limits(),
            "budgets": tuple(budget.to_budget() for budget in self.budgets),
            "cache": self.cache,
            "priorities": self.priorities,
            "weight": self.weight,
            "disabled": self.disabled,
            "metadata": dict(self.metadata),
        }


def _crossed(field: str, message: str) -> PydanticCustomError:
    """Return the error of fields that do not fit together, which pydantic has no place for."""
    context = {"field": field, "message": message}
    return PydanticCustomError("terms_contradict", "{message}", context)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNames:
    """The configured names that keys may refer to."""

    models: frozenset[str]
    policies: frozenset[str]
    teams: frozenset[str]

    @classmethod
    def of(cls, config: GatewayConfig) -> Self:
        """Collect them from a configuration."""
        return cls(
            models=frozenset(config.models),
            policies=frozenset(config.policies),
            teams=frozenset(config.allowances.teams),
        )

    def check(self, terms: KeyTerms) -> None:
        """Refuse names that are none.

        Raises
        ------
        InvalidRequestError
            With the `param` at fault.
        """
        self.check_names(models=terms.models, policies=terms.policies, team=terms.team)

    def check_names(
        self,
        *,
        models: Iterable[str] | None = None,
        policies: Iterable[str] | None = None,
        team: str | None = None,
    ) -> None:
        """Refuse names that are none; what is None is not looked at.

        Raises
        ------
        InvalidRequestError
            With the `param` at fault.
        """
        _check("models", models or (), self.models)
        _check("policies", policies or (), self.policies)
        _check("team", () if team is None else (team,), self.teams)


def _check(param: str, names: Iterable[str], known: frozenset[str]) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise InvalidRequestError(
            f"{param}: unknown name {unknown[0][:80]!r}; "
            f"known: {', '.join(sorted(known)) or 'none is configured'}",
            param=param,
        )
