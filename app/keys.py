"""What a virtual key is: who may ask for which models, how much of them, and for how many dollars.

Secrets are never here: a key is known by the SHA-256 digest of its secret.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec

NUSD_PER_USD = 1_000_000_000
"""Money is counted in whole billionths of a US dollar, so that sums are exact."""

MAX_NUSD = 9_000_000 * NUSD_PER_USD
"""The most that is counted at once, nine million dollars: Redis' Lua counts in doubles, which are
whole numbers up to 2^53."""

MIN_WEIGHT, MAX_WEIGHT = 0.001, 1_000.0
"""Of a key where requests wait."""

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Weight = Annotated[float, msgspec.Meta(ge=MIN_WEIGHT, le=MAX_WEIGHT)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]


def to_nusd(usd: float) -> int:
    """Return US dollars in billionths; what is more than can be counted is as much as can be.

    What is no amount of money, below zero or not a number, is none.
    """
    if not usd > 0:
        return 0
    return round(usd * NUSD_PER_USD) if usd < MAX_NUSD / NUSD_PER_USD else MAX_NUSD


class Priority(StrEnum):
    """How urgent a request is where many wait."""

    INTERACTIVE = "interactive"
    """Somebody waits for it."""
    BATCH = "batch"
    """It goes when no interactive request wants to, but for a small share."""


class Period(StrEnum):
    """How long a budget lasts; days, ISO weeks and months in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class OnLow(StrEnum):
    """What happens while the last part of a budget is being spent; at its end, all refuse."""

    DEGRADE = "degrade"
    """The knob is lowered step by step, so that cheaper models stretch what is left."""
    REJECT = "reject"
    """Nothing, until nothing is left."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many US dollars may be spent in each period.

    `degrade_from` is the share of the budget after which `on_low: degrade` lowers the knob. Up to
    nine million dollars are compared exactly.
    """

    usd: Annotated[float, msgspec.Meta(gt=0, le=9e6)]
    period: Period
    on_low: OnLow = OnLow.REJECT
    degrade_from: _Share = 0.8

    @property
    def limit_nusd(self) -> int:
        """The limit in billionths of a dollar."""
        return round(self.usd * NUSD_PER_USD)


class BatchBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How many US dollars one batch may spend in all.

    Attributes
    ----------
    forget_at
        When what it spent need not be known any more, in seconds since the epoch.
    """

    batch_id: str
    usd: float
    forget_at: float

    @property
    def limit_nusd(self) -> int:
        """The limit in billionths of a dollar."""
        return to_nusd(self.usd)


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may be asked for at once; None means no limit."""

    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None
    concurrent_requests: _Count | None = None


NO_LIMITS = Limits()


class KeyRecord(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One virtual key as it is stored; what is as usual is left out, so that it reads anywhere.

    Attributes
    ----------
    key_id
        Public name of the key (`key-` and 12 hexadecimal digits): in logs, metrics, lists. It stays
        when the secret is rotated, and so do limits and what is spent; for a while two records
        then have it.
    digest
        SHA-256 of the secret, 64 hexadecimal digits; never accepted in place of the secret.
    team
        Whose limits and budgets hold besides the key's own; must be configured.
    created_at, expires_at
        Seconds since the epoch; an `expires_at` of None never comes.
    models, policies
        What may be asked for; None means everything.
    cost_quality, least_cost_quality, most_cost_quality
        Where the knob stands when a request leaves it open, and the range it may be moved in.
    cache
        Whether answers to this key are cached unless a request says otherwise.
    priorities
        Which classes it may ask for where requests wait; None means what its team may.
    weight
        Its share there, relative to other keys; None means what its team's keys have.
    disabled
        Whether requests are refused until somebody says otherwise.
    replaced_by
        Digest of the secret that `rotate` put in the place of this one.
    version
        Counts the changes of the key; whoever changes it says from which version to which, so that
        two changes at once cannot undo each other.
    """

    key_id: str
    digest: str
    name: str
    owner: str = ""
    team: str | None = None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    models: frozenset[str] | None = None
    policies: frozenset[str] | None = None
    cost_quality: _Share | None = None
    least_cost_quality: _Share = 0.0
    most_cost_quality: _Share = 1.0
    limits: Limits = NO_LIMITS
    budgets: tuple[Budget, ...] = ()
    cache: bool = False
    priorities: frozenset[Priority] | None = None
    weight: _Weight | None = None
    metadata: dict[str, str] = {}
    disabled: bool = False
    replaced_by: str | None = None
    version: int = 1

    def usable(self, now: float) -> bool:
        """Return whether requests may be made with it at `now`, in seconds since the epoch."""
        return not self.disabled and self.alive(now)

    def alive(self, now: float) -> bool:
        """Return whether it is neither revoked nor expired at `now`, disabled or not."""
        if self.revoked_at is not None:  # whatever the clock says: it may have been set back
            return False
        return self.expires_at is None or now < self.expires_at


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a key; kept for whoever asks who it was.

    Attributes
    ----------
    at
        Seconds since the epoch.
    by
        Who did it, as far as that is known: the admin token and an address, or a user of the
        command line.
    done
        `created`, `updated`, `rotated` or `revoked`.
    version
        The key's, afterwards.
    changes
        Term → what it was and what it is; null where it was not said. Never a secret or a digest.
    """

    at: float
    by: str
    done: str
    key_id: str
    name: str
    version: int
    changes: dict[str, tuple[Any, Any]]
