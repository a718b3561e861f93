"""What a choice is made by: the knob, and the limits that come before it.

Units: seconds, US dollars, quality in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from routers.decisions import Latency
from routers.wishes import Wishes


@dataclass(frozen=True, slots=True)
class CostQuality:
    """Recover the share t in [0, 1] of the quality gap, at the lowest cost."""

    t: float


@dataclass(frozen=True, slots=True)
class UsdPerQuality:
    """Pay up to this many US dollars for one more unit of quality (from 0 to 1)."""

    usd_per_quality: float


@dataclass(frozen=True, slots=True)
class MaxQualityLoss:
    """Take the cheapest model predicted within `loss` of the best."""

    loss: float


@dataclass(frozen=True, slots=True)
class MinQuality:
    """Take the cheapest model predicted to reach `quality`."""

    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongThreshold:
    """Take `strong` when the predicted chance that it beats `weak` is at least `threshold`.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """

    strong: str
    weak: str
    threshold: float
    statement: str | None = None
    """What was found of a stored threshold, in words; None for one that somebody chose."""


Objective = CostQuality | UsdPerQuality | MaxQualityLoss | MinQuality | StrongThreshold


class OutputLimit(StrEnum):
    """What becomes of a model that gives a shorter answer than a request asks for."""

    PREFER = "prefer"
    """It is kept out where another one gives it all; where none does, it gives what it has."""
    CUT = "cut"
    """It takes part, and gives what it has."""
    REFUSE = "refuse"
    """It is kept out."""


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """Hard limits that come before any score."""

    output_limit: OutputLimit = OutputLimit.PREFER
    allowed_model_ids: frozenset[str] | None = None
    max_cost_usd: float | None = None
    unhealthy_model_ids: frozenset[str] = frozenset()
    demoted_model_ids: frozenset[str] = frozenset()
    """Models that are not what they were, and are kept out while another one can serve."""
    unpayable: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Models that the request's budget cannot pay for, and why."""
    over_share: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Models that as many requests went to as may, and why."""
    wishes: Wishes | None = None
    """What the request wants of models besides quality and price: its demands keep models out, its
    goals are weighed."""
    surcharges_usd: Mapping[str, float] = msgspec.field(default_factory=dict)
    """What models cost at the moment beside their price, such as the time of who waits, in US
    dollars >= 0. Only the choice counts it: no limit, no account."""
    latencies: Mapping[str, Latency] = msgspec.field(default_factory=dict)
    """How long models are predicted to take for the request."""
    max_latency_s: float | None = None
    """What is left for a whole answer: models that may take longer are kept out, unless all may."""
    max_ttft_s: float | None = None
    """What is left until its first token."""

    @property
    def has_deadline(self) -> bool:
        """Whether an answer may be late."""
        return self.max_latency_s is not None or self.max_ttft_s is not None

    def with_surcharges(self, more_usd: Mapping[str, float]) -> "Constraints":
        """Return these constraints with further surcharges, added to those that there are."""
        total = dict(self.surcharges_usd)
        for model_id, usd in more_usd.items():
            total[model_id] = total.get(model_id, 0.0) + usd
        return msgspec.structs.replace(self, surcharges_usd=total)
