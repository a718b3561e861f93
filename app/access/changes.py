"""What may be changed of a virtual key: a JSON merge patch (RFC 7396) over its terms."""

from typing import Annotated, Any, Self

from msgspec.structs import replace
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.access.terms import (
    MAX_LIFETIME_S,
    BudgetTerms,
    KeyTerms,
    KnownNames,
    Lifetime,
    LimitTerms,
    MetadataName,
    MetadataText,
    Name,
    Names,
    Owner,
    Priorities,
    Share,
    Strict,
    Team,
    Weight,
)
from app.errors import InvalidRequestError
from app.keys import KeyRecord
from app.problems import invalid

_Moment = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_EXPIRY = frozenset({"expires_in_s", "expires_at"})


class KeyChanges(Strict):
    """What changes of a key: a field that is left out stays, null takes what was said away.

    `limits` and `metadata` are merged field by field, lists are replaced whole.
    """

    name: Name | None = None
    owner: Owner | None = None
    team: Team | None = None
    expires_in_s: Lifetime | None = Field(None, description="From now; null: never.")
    expires_at: _Moment | None = Field(
        None, description="Instead of `expires_in_s`, in seconds since the epoch."
    )
    models: Names | None = Field(None, description="null: all of them.")
    policies: Names | None = Field(None, description="null: all of them.")
    cost_quality: Share | None = None
    least_cost_quality: Share | None = None
    most_cost_quality: Share | None = None
    limits: LimitTerms | None = None
    budgets: Annotated[tuple[BudgetTerms, ...], Field(max_length=3)] | None = None
    cache: bool | None = None
    priorities: Priorities | None = Field(None, description="null: as its team.")
    weight: Weight | None = Field(None, description="null: as its team.")
    disabled: bool | None = Field(None, description="Refuse its requests until this is false.")
    metadata: Annotated[dict[MetadataName, MetadataText | None], Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.model_fields_set >= _EXPIRY:
            raise PydanticCustomError(
                "terms_contradict",
                "say either expires_in_s or expires_at",
                {"field": "expires_at"},
            )
        return self

    def check(self, known: KnownNames) -> None:
        """Refuse names that are none; those that the key had before are not asked about.

        Raises
        ------
        InvalidRequestError
            With the `param` at fault.
        """
        known.check_names(models=self.models, policies=self.policies, team=self.team)

    def apply(self, record: KeyRecord, *, now: float) -> KeyRecord:
        """Return the record with the changes; its version stays.

        Parameters
        ----------
        now
            Seconds since the epoch.

        Raises
        ------
        InvalidRequestError
            If what comes out does not fit together, with the `param` at fault.
        """
        patch = self.model_dump(exclude_unset=True, exclude=set(_EXPIRY))
        try:
            terms = KeyTerms.model_validate(merged(_terms_of(record), patch))
        except ValidationError as error:
            raise invalid(error) from None
        return replace(record, expires_at=self._expiry(record, now), **terms.to_fields())

    def _expiry(self, record: KeyRecord, now: float) -> float | None:
        said = self.model_fields_set & _EXPIRY
        if not said:
            return record.expires_at
        if self.expires_in_s is not None:
            return now + self.expires_in_s
        if self.expires_at is not None and not now < self.expires_at <= now + MAX_LIFETIME_S:
            raise InvalidRequestError(
                "expires_at: must be in the next ten years; to stop a key now, set disabled or "
                "revoke it",
                param="expires_at",
            )
        return self.expires_at


def merged(target: Any, patch: Any) -> Any:
    """Return what a JSON merge patch makes of a document (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _terms_of(record: KeyRecord) -> dict[str, Any]:
    """Return the terms of a record as its issuer said them."""
    return {
        "name": record.name,
        "owner": record.owner,
        "team": record.team,
        "models": record.models,
        "policies": record.policies,
        "cost_quality": record.cost_quality,
        "least_cost_quality": record.least_cost_quality,
        "most_cost_quality": record.most_cost_quality,
        "limits": LimitTerms.of(record.limits).model_dump(),
        "budgets": [BudgetTerms.of(budget) for budget in record.budgets],
        "cache": record.cache,
        "priorities": record.priorities,
        "weight": record.weight,
        "disabled": record.disabled,
        "metadata": record.metadata,
    }
