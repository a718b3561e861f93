"""The section `allowances`: who may use how much."""

from typing import Annotated

from pydantic import Field

from app.config.fields import Count, Share, ShortName, Strict
from app.keys import Budget, Limits, OnLow, Period


class LimitsConfig(Strict):
    """How much may be asked for; what is left out is not limited."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent_requests: Count | None = None

    def to_limits(self) -> Limits:
        """Return it as the store counts it."""
        return Limits(**self.model_dump())


class BudgetConfig(Strict):
    """How many US dollars may be spent in each period (days, ISO weeks, months; UTC)."""

    usd: Annotated[float, Field(gt=0, le=9e6)]
    period: Period
    on_low: OnLow = OnLow.REJECT
    """`degrade` lowers the knob step by step once `degrade_from` is spent."""
    degrade_from: Share = 0.8

    def to_budget(self) -> Budget:
        """Return it as the store counts it."""
        return Budget(**self.model_dump())


class AllowanceConfig(Strict):
    """What one key, one team or all together may use."""

    limits: LimitsConfig = LimitsConfig()
    budgets: tuple[BudgetConfig, ...] = ()


class AllowancesConfig(Strict):
    """Who may use how much; what a key may use can also be written into the key."""

    gateway: AllowanceConfig = AllowanceConfig()
    """All requests together."""
    key: AllowanceConfig = AllowanceConfig()
    """Every key without limits (or budgets) of its own; without keys, everybody together."""
    teams: dict[ShortName, AllowanceConfig] = Field(default_factory=dict)
    """Keys name their team."""
