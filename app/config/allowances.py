"""The section `allowances`: who may use how much."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from app.config.fields import Count, Name, Place, Share, ShortName, Strict
from app.keys import MAX_WEIGHT, MIN_WEIGHT, Budget, Limits, OnLow, Period, Priority


class LimitsConfig(Strict):
    """How much may be asked for; what is left out is not limited."""

    requests_per_minute: Count | None = None
    """Requests in any minute, with a burst of one minute's worth."""
    tokens_per_minute: Count | None = None
    """Tokens of prompts and answers in any minute: claimed by estimate before the call, settled by
    what was used."""
    concurrent_requests: Count | None = None
    """Requests at once, from admission to the end of the answer."""

    def to_limits(self) -> Limits:
        """Return it as the store counts it."""
        return Limits(**self.model_dump())


class BudgetConfig(Strict):
    """How many US dollars may be spent in each period (days, ISO weeks, months; UTC)."""

    usd: Annotated[float, Field(gt=0, le=9e6, allow_inf_nan=False)]
    """What may be spent in one period."""
    period: Period
    """When it begins anew: at midnight, on Mondays, or on the first of the month (UTC)."""
    on_low: OnLow = OnLow.REJECT
    """`degrade` lowers the knob step by step once `degrade_from` is spent."""
    degrade_from: Share = 0.8
    """The share of the budget from which on `degrade` lowers the knob."""

    def to_budget(self) -> Budget:
        """Return it as the store counts it."""
        return Budget(**self.model_dump())


class ShareConfig(Strict):
    """No more than a share of the routed requests goes to some models, however they are worded."""

    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Which models, together, with all of their variants; a request that can go nowhere else is
    refused."""
    share: Share
    """Of the requests that a policy decides; those that name a model are not counted."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """How many more may go there in a row, in each process: at the start, and saved up since."""


class AllowanceConfig(Strict):
    """What one key, one team or all together may use."""

    limits: LimitsConfig = LimitsConfig()
    """How much may be asked for."""
    budgets: tuple[BudgetConfig, ...] = ()
    """How much may be spent; several, of different periods, hold at once."""
    shares: tuple[ShareConfig, ...] = ()
    """How many of the requests may go to which models."""


class KeyAllowanceConfig(AllowanceConfig):
    """What each of some keys, or a team, may use, and how its requests wait beside others."""

    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] | None = None
    """The classes that requests may ask for (`x-route-priority`); without `interactive`, all are
    `batch`. Left out: both, or what the next wider place says; a key's own come first."""
    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)] | None = None
    """The share of each key where requests wait, relative to other keys; left out, likewise, and
    1."""


class AllowancesConfig(Strict):
    """Who may use how much; what a key may use can also be written into the key."""

    gateway: AllowanceConfig = AllowanceConfig()
    """All requests together."""
    key: KeyAllowanceConfig = KeyAllowanceConfig()
    """Every key without limits (or budgets) of its own; without keys, everybody together."""
    teams: dict[ShortName, KeyAllowanceConfig] = Field(default_factory=dict)
    """What each team may use in sum, by its name; keys name their team."""

    def each(self) -> Iterator[tuple[Place, AllowanceConfig]]:
        """Yield every allowance and where it is written."""
        yield ("allowances", "gateway"), self.gateway
        yield ("allowances", "key"), self.key
        for name, allowance in self.teams.items():
            yield ("allowances", "teams", name), allowance

    def named_models(self) -> Iterator[tuple[Place, str]]:
        """Yield every model that is named, and where."""
        for place, allowance in self.each():
            for i, cap in enumerate(allowance.shares):
                for j, model_id in enumerate(cap.models):
                    yield (*place, "shares", i, "models", j), model_id
