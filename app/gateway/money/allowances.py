"""Who may use how much, as it is configured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.access.guard import Caller
from app.keys import NO_LIMITS, BatchBudget, Budget, Limits
from app.stores.claims import Scope, ScopeKind

GATEWAY = Scope(ScopeKind.GATEWAY)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one scope may use."""

    limits: Limits = NO_LIMITS
    budgets: tuple[Budget | BatchBudget, ...] = ()


UNLIMITED = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """The configured ones; a key's own stand in its record.

    Attributes
    ----------
    gateway
        Of all requests together.
    key
        Of every key whose record sets no limits (or no budgets) of its own, and of all callers
        without a key together.
    teams, models
        By name; models have limits only.
    """

    gateway: Allowance = UNLIMITED
    key: Allowance = UNLIMITED
    teams: Mapping[str, Allowance] = field(default_factory=dict)
    models: Mapping[str, Limits] = field(default_factory=dict)

    def of_key(self, caller: Caller) -> Allowance:
        """Return what a caller's key may use."""
        if caller.key is None:
            return self.key
        return Allowance(
            limits=self.key.limits if caller.key.limits == NO_LIMITS else caller.key.limits,
            budgets=caller.key.budgets or self.key.budgets,
        )
