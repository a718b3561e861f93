"""The sections `routers` and `policies`: how it is decided."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from app.config.fields import ConflictError, Place, Seconds, SecondsOrNone, Share, Strict, Text
from routers.artifact.thresholds import StoredName

PRESETS: Mapping[str, float] = {"economy": 0.5, "balanced": 0.8, "quality": 0.95}
"""Named positions of the cost-quality knob: shares of the quality gap that are kept.

Most of a gap lies in few prompts, those that only the best models answer, so that a share of one
half is little where it counts: by it, demanding prompts go to middling models.
"""


Preset = Literal["economy", "balanced", "quality"]


class PairConfig(Strict):
    """The two models of a RouteLLM-style threshold name `router-<name>-<threshold>`."""

    strong: str
    """The model that answers better; one of `models`."""
    weak: str
    """The model that is cheaper; one of `models`."""


class RouterConfig(Strict):
    """One trained artifact."""

    artifact: Text = "default"
    """A directory relative to this file, or `default` for the one that is shipped."""
    encoders: tuple[Text, ...] = ()
    """Sentence-transformers models and folders of encoders that the artifact may name, written as
    its manifest writes them. Loading one may run its code, so an artifact alone may not."""
    pair: PairConfig | None = None
    """Two models between which `router-<name>-<threshold>`, and `policies.*.threshold`, decide."""
    scorer: str | None = None
    """A model that is asked, before every decision by a threshold, whether the pair's weak model
    will do (RouteLLM's `causal_llm`). Other objectives go by the artifact alone."""

    @model_validator(mode="after")
    def _scores_a_pair(self) -> Self:
        if self.scorer is not None and self.pair is None:
            raise ConflictError(("scorer",), "a scorer is asked about a pair; name one in `pair`")
        return self


class AffinityConfig(Strict):
    """How a conversation keeps its model from turn to turn."""

    enabled: bool = True
    """Whether conversations keep their model where a switch would cost more than it gains."""
    ttl_s: Seconds = 3600.0
    """How long after its last turn a conversation is remembered."""
    cache_lifetime_s: SecondsOrNone = 300.0
    """How long after its last use a provider's prefix cache may still be warm."""
    margin_usd: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    """What a switch has to gain on top of the prefix cache it loses."""


class AcceptorConfig(Strict):
    """Who says whether an answer that was held back will do."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Text
    """`logprobs` or `judge`; the options of either stand beside it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What stands beside the kind."""
        return self.model_extra or {}


class CascadeConfig(Strict):
    """Have cheap models draft answers, which are held back until one is accepted."""

    stages: Annotated[tuple[str, ...], Field(max_length=5)] | None = None
    """The models in their order, cheapest first; each one of the policy's candidates. The last one
    answers directly."""
    by: Literal["cost"] | None = None
    """In place of `stages`: all candidates, in the order of their prices."""
    acceptor: AcceptorConfig
    """Who accepts an answer."""

    @model_validator(mode="after")
    def _has_stages(self) -> Self:
        if (self.stages is None) == (self.by is None):
            raise ConflictError(("stages",), "say either `stages` or `by: cost`, and not both")
        if self.stages is not None and len(self.stages) < 2:
            raise ConflictError(
                ("stages",),
                "a cascade needs two stages at least: one that drafts, one that answers",
            )
        return self


class PolicyConfig(Strict):
    """How `auto:<policy>` decides where the request leaves it open."""

    router: str
    """One of `routers`."""
    candidates: Annotated[tuple[str, ...], Field(min_length=1)]
    """The models to choose from, each one of `models`."""
    default_model: str
    """Takes the request when the router fails or is too slow."""
    cost_quality: Share | Preset = "balanced"
    """The knob: 0 is the cheapest candidate, 1 the best achievable, 0.5 half of the quality gap
    between them at the lowest cost; `economy` is 0.5, `balanced` 0.8, `quality` 0.95."""
    threshold: Share | StoredName | None = None
    """Decide between the router's pair instead of by the knob: a threshold, or the name of one
    that `steelyard calibrate` stored in the artifact."""
    output_limit: Literal["prefer", "cut", "refuse"] = "prefer"
    """What becomes of candidates that give less output than a request asks for (`max_tokens`):
    `prefer` takes them only where none gives it all, `cut` without regard to it (both cut the
    limit to what the chosen one gives, and `x-route-max-tokens` tells), `refuse` never."""
    fallback: bool = True
    """Whether the next model is tried where one fails before its first content."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Up to how many models are tried."""
    hedge_after_s: Seconds | None = None
    """Start the next model beside the first when that has not begun to answer for so long; the
    faster one serves, and the other is paid too. Off by default."""
    cascade: CascadeConfig | None = None
    """Have cheap models draft the answer, and dearer ones only where that will not do. Off by
    default."""
    router_deadline_s: Seconds = 0.05
    """How long a decision may take before `default_model` takes the request."""
    affinity: AffinityConfig = AffinityConfig()
    """How conversations keep their model."""

    @property
    def knob(self) -> float:
        """The default position of the knob as a number."""
        return (
            PRESETS[self.cost_quality]
            if isinstance(self.cost_quality, str)
            else (self.cost_quality)
        )


def check_policy(name: str, policy: PolicyConfig, router: RouterConfig) -> None:
    """Refuse a policy whose parts contradict each other."""
    place = ("policies", name)
    if policy.default_model not in policy.candidates:
        raise ConflictError((*place, "default_model"), "is not among its candidates")
    if len(set(policy.candidates)) < len(policy.candidates):
        raise ConflictError((*place, "candidates"), "names a model twice")
    if policy.hedge_after_s is not None and (
        not policy.fallback or min(policy.max_attempts, len(policy.candidates)) == 1
    ):
        raise ConflictError(
            (*place, "hedge_after_s"),
            "there is no second model to start; that takes fallback, max_attempts and candidates "
            "of at least two",
        )
    if policy.cascade is not None:
        _check_cascade((*place, "cascade"), policy, policy.cascade)
    if policy.threshold is not None:
        _check_threshold((*place, "threshold"), policy, router)
    if router.scorer is not None and "router_deadline_s" not in policy.model_fields_set:
        raise ConflictError(
            (*place, "router_deadline_s"),
            f"router {policy.router!r} asks a model before it decides; say how long that may take "
            "(2 is a start)",
        )


def _check_cascade(place: Place, policy: PolicyConfig, cascade: CascadeConfig) -> None:
    if policy.threshold is not None:
        raise ConflictError(
            place, "contradicts threshold, which decides before an answer; leave one of them out"
        )
    if len(policy.candidates) < 2:
        raise ConflictError(
            place, "there is one candidate, and nothing to go on to; add a dearer one"
        )
    if not policy.fallback:
        raise ConflictError(
            place, "fallback: false keeps each request with one model; a cascade needs several"
        )
    for position, model_id in enumerate(cascade.stages or ()):
        if model_id not in policy.candidates:
            raise ConflictError(
                (*place, "stages", position),
                f"{model_id!r} is not among the policy's candidates: "
                f"{', '.join(policy.candidates)}",
            )
    if cascade.stages is not None and len(set(cascade.stages)) < len(cascade.stages):
        raise ConflictError((*place, "stages"), "names a model twice")


def _check_threshold(place: Place, policy: PolicyConfig, router: RouterConfig) -> None:
    if "cost_quality" in policy.model_fields_set:
        raise ConflictError(place, "contradicts cost_quality; leave one of them out")
    if router.pair is None:
        raise ConflictError(place, f"router {policy.router!r} has no pair to decide between")
    pair = {router.pair.strong, router.pair.weak}
    if not pair <= set(policy.candidates) or policy.default_model not in pair:
        raise ConflictError(
            place,
            f"the pair of router {policy.router!r} must be among the candidates, and "
            "default_model must be one of the two",
        )
