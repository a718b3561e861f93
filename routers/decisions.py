"""Which model takes a request, why, and what was predicted of each.

Units: seconds, US dollars, quality in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from routers.types import Category


class Exclusion(StrEnum):
    """Why a candidate could not be chosen."""

    NOT_ALLOWED = "not_allowed"
    WISHES = "wishes"
    """Not as safe, or of another licence, than the request demands."""
    CONTEXT_WINDOW = "context_window"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    VISION = "vision_unsupported"
    AUDIO = "audio_unsupported"
    VIDEO = "video_unsupported"
    FILE = "file_unsupported"
    MAX_IMAGES = "max_images"
    TOOLS = "tools_unsupported"
    JSON_SCHEMA = "json_schema_unsupported"
    STREAMING = "streaming_unsupported"
    MESSAGES_API = "messages_api_unsupported"
    MAX_COST = "max_cost"
    UNKNOWN_PRICE = "unknown_price"
    SHARE = "share_exceeded"
    LATENCY = "latency"
    """It may take longer than the request allows, and another one does not."""
    UNHEALTHY = "unhealthy"
    DEMOTED = "demoted"
    """It has changed for the worse since it was learned."""


class Reason(StrEnum):
    """Why the served model was chosen; a header, a log field and a metric label."""

    KNOB = "knob"
    UNCERTAIN = "uncertain"
    """As `knob`, by a router of categories that recognised none: no specialist is asked for."""
    ONLY_ELIGIBLE = "only_eligible"
    MIN_QUALITY_UNMET = "min_quality_unmet"
    LATENCY_UNMET = "latency_unmet"
    """No candidate is predicted to be in time; the fastest one is taken."""
    THRESHOLD = "threshold"
    PINNED = "pinned"
    ROUTER_TIMEOUT = "router_timeout"
    ROUTER_ERROR = "router_error"
    FALLBACK = "fallback"
    BUDGET = "budget"
    """What is left of a budget did not pay for the model that was decided."""
    DECISION_MODEL = "decision_model"
    """The policy has a model for requests as hard as an outside model says that this one is."""
    BEST_EFFORT = "best_effort"
    """The best of some tiers that is expected to be in time at the present load."""
    STICKY = "sticky"
    """The conversation stayed on its model where the router alone would have moved."""
    WORKFLOW = "workflow"
    """A workflow says which models are called, in which order, and whose answer serves."""


class Latency(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long an answer is predicted to take, from the request on, in seconds.

    Attributes
    ----------
    ttft_s, total_s
        Until its first token, and until it is whole: the median.
    ttft_s_upper, total_s_upper
        What nine of ten stay below.
    """

    ttft_s: float
    ttft_s_upper: float
    total_s: float
    total_s_upper: float


class CandidateEstimate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that was known of one candidate when the decision was made."""

    model_id: str
    quality: float | None
    quality_std: float | None
    input_tokens: int
    output_tokens: float | None
    output_tokens_upper: float | None
    cost_usd: float | None
    cost_usd_upper: float | None
    exclusion: Exclusion | None = None
    exclusion_detail: str | None = None
    penalty: float = 0.0
    """What the goals of the request take off its quality, in the same unit."""
    goal_costs: Mapping[str, float] | None = None
    """By goal, from 0 (nothing better) to 1; None where there are none."""
    surcharge_usd: float = 0.0
    """What the choice adds to its cost."""
    latency: Latency | None = None
    """How long it is predicted to take; None where nobody asked or knows."""

    @property
    def weighed_usd(self) -> float | None:
        """What the choice takes it to cost, surcharge included; None where its price is unknown."""
        return None if self.cost_usd is None else self.cost_usd + self.surcharge_usd

    @property
    def eligible(self) -> bool:
        """Whether the candidate passed every hard constraint."""
        return self.exclusion is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which model takes a request, why, and what was predicted of all of them."""

    model_id: str
    fallbacks: tuple[str, ...]
    """Further eligible models, best first under the same objective."""
    candidates: tuple[CandidateEstimate, ...]
    reason: Reason
    usd_per_quality: float | None
    """The exchange rate that the knob came down to; None where none was used."""
    propensity: float = 1.0
    category: Category | None = None
    """What the request is taken to be about, where the router goes by that."""
    usd_per_goal: float | None = None
    """What a unit of `CandidateEstimate.penalty` was weighed with, where that is another rate."""

    def estimate(self, model_id: str) -> CandidateEstimate | None:
        """Return what was predicted of `model_id`, if it was a candidate."""
        for each in self.candidates:
            if each.model_id == model_id:
                return each
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobStep:
    """One range of the knob in which the choice stays the same."""

    from_cost_quality: float
    to_cost_quality: float
    model_id: str
