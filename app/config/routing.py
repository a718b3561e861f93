"""The sections `routers` and `policies`: how it is decided."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from app.config.best_effort import BestEffortConfig, check_best_effort
from app.config.decision_models import DecisionModelConfig, check_decision_model
from app.config.fields import ConflictError, Place, Seconds, SecondsOrNone, Share, Strict, Text
from app.config.flags import FlagsConfig
from app.config.tasks import (
    DescriptionConfig,
    RecognitionConfig,
    TaskConfig,
    TaskName,
    check_tasks,
)
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


class RouterFeedbackConfig(Strict):
    """Have a router that remembers queries remember rated answers, while it serves.

    For artifacts of `guarded-knn`, and of `carrot` with a knn head for quality. Each worker reads
    the decision log, so that `outcomes.contents` has to be kept, in SQLite.
    """

    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """How many rated answers are remembered beside what was fitted; then no more, until the
    gateway starts again or reloads and takes the newest. Keep them for good with `steelyard
    export` and `steelyard insert`."""
    max_per_key: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """How many of them one key may have rated; ratings with the admin token are not counted."""
    settle_s: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 60.0
    """How long after it was told a rating counts; until then it may be changed."""


class RouterConfig(Strict):
    """One trained artifact."""

    artifact: Text = "default"
    """A directory relative to this file, or `default` for the one that is shipped."""
    encoders: tuple[Text, ...] = ()
    """Sentence-transformers models and folders of encoders that the artifact may name, written as
    its manifest writes them. Loading one may run its code, so an artifact alone may not."""
    feedback: RouterFeedbackConfig | None = None
    """Which ratings the router believes as they come; left out, none: they are exported."""
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


class StallsConfig(Strict):
    """Raise the tier of an agent's task that does not get on."""

    cost_quality: Annotated[tuple[Share, ...], Field(min_length=1, max_length=3)] = (0.95, 1.0)
    """The knob's least position while a task stalls, by how much went wrong in it: a repeated
    call, tools that fail in a row, the same question again, a refused answer count one each. The
    last position holds for more, too."""
    housekeeping: Share | None = 0.0
    """The knob's highest position for titles, topics, suggestions and checks, which clients have
    made for themselves; `null` leaves it where it is."""


class DocumentsConfig(Strict):
    """Route by the documents that requests bring: declared, results of tools, attached, pasted."""

    features: bool = True
    """Whether documents are told to the router in numbers (how many, how well they cover what is
    asked), and their text is kept from it. Routers with the block `documents` learned from these
    numbers; others go by what is asked alone."""
    theta: Share | None = None
    """With documents, take the cheapest candidate predicted within so much quality of the best, in
    place of the policy's position of the knob; 0 takes the best. `null` leaves the knob."""


class ImageChoiceConfig(Strict):
    """How closely images are looked at whose `detail` a client leaves open."""

    detail: Literal["as-sent", "auto", "low", "high", "original"] = "as-sent"
    """`auto` decides between the levels of each model, each with quality and cost of its own; a
    level is what every model gets that has it; `as-sent` changes nothing."""
    override: bool = False
    """Whether that holds for images too of which the client names a detail; a request can allow it
    by `x-route-detail`."""
    low_detail_loss: Share = 0.1
    """What low detail is taken to cost of a quality from 0 to 1, where an image is larger than that
    shows and the router has seen no outcomes of it."""

    @property
    def chooses(self) -> bool:
        """Whether there is anything to choose."""
        return self.detail != "as-sent"


class LatencyConfig(Strict):
    """How long answers may take, and what their time is worth, where a request says nothing."""

    max_total_s: Seconds | None = None
    """Candidates of which more than one answer in ten is predicted to take longer are kept out; the
    fastest answers where that would be all. Left out: as long as it takes."""
    max_ttft_s: Seconds | None = None
    """The same until the first token."""
    usd_per_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    """What a second until the answer is whole costs where candidates are compared; never billed."""


class LoadConfig(Strict):
    """A price for models that near what their deployments take, by `max_rps` and their quotas."""

    target: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.9
    """Which share of a limit is to be used at most; from there on the price rises."""


class WorkflowConfig(Strict):
    """Come to one answer by several calls."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Text
    """`cascade`, `agree`, `best_of`, `guarded`, `rounds` and others; their options stand beside."""
    max_calls: Annotated[int, Field(ge=1, le=64)] = 12
    """How many calls one request may make, judges included and retries apart."""
    max_cost_usd: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """What all of them may cost together; a request's own limit holds beside it."""
    max_time_s: Seconds | None = None
    """How long they may take together, until an answer begins to serve."""

    @property
    def registered_kind(self) -> str:
        """The kind as it is registered."""
        return self.kind.replace("_", "-")

    @property
    def options(self) -> Mapping[str, Any]:
        """What stands beside the kind and the ceilings."""
        return self.model_extra or {}


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
    hedge_after_s: Seconds | Literal["auto"] | None = None
    """Start another model beside the first when that has not begun to answer for so long; the
    faster one serves, and the other is paid too. `auto`: once it takes longer than nine of ten of
    its calls are predicted to. Off by default."""
    workflow: WorkflowConfig | None = None
    """Come to one answer by several calls: have cheap models draft it and dearer ones only where
    that will not do, or serve what several agree on. Off by default."""
    tasks: dict[TaskName, TaskConfig] = Field(default_factory=dict)
    """The tasks that requests may name, one (`x-route-task: sql`) or several, each of which works
    on what the one before it brought (`x-route-task: ocr>translate`). Other names are refused."""
    recognise_tasks: RecognitionConfig | None = None
    """Find the task of requests that name none. Off by default."""
    describe_apps: DescriptionConfig | None = None
    """Have a model describe each application by its system prompt, once, for a router that goes by
    tasks. Off by default: the system prompt stands for itself."""
    decision_model: DecisionModelConfig | None = None
    """Ask a model how hard a request is, and of what kind, before it is decided. Off by
    default."""
    router_deadline_s: Seconds = 0.05
    """How long a decision may take before `default_model` takes the request."""
    affinity: AffinityConfig = AffinityConfig()
    """How conversations keep their model."""
    best_effort: BestEffortConfig | None = None
    """Answer with the best of some tiers that is in time at the present load, whatever model a
    conversation had before. Off by default."""
    load: LoadConfig | None = None
    """Shift requests away from models that near what their deployments take, before they answer
    429. Off by default."""
    documents: DocumentsConfig | None = None
    """Route by what documents come with a request, and never by what they say. Off by default."""
    images: ImageChoiceConfig = ImageChoiceConfig()
    """How closely images are looked at."""
    stalls: StallsConfig | None = None
    """What a task gets that does not get on: a higher position of the knob until it is over,
    unless the client sets the knob itself. Off by default."""
    latency: LatencyConfig | None = None
    """How long answers may take, and what their time is worth. Off by default."""
    flags: FlagsConfig = FlagsConfig()
    """What requests may wish of models besides quality and price."""

    @model_validator(mode="before")
    @classmethod
    def _knows_where_cascades_went(cls, given: Any) -> Any:
        if isinstance(given, dict) and "cascade" in given:
            raise ConflictError(
                ("cascade",), "is a kind of workflow now: write `workflow: {kind: cascade, ...}`"
            )
        return given

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
    if policy.stalls is not None and policy.threshold is not None:
        raise ConflictError(
            (*place, "stalls"), "moves the knob, and a policy with a threshold goes by none"
        )
    if policy.documents is not None and policy.documents.theta is not None:
        _check_theta((*place, "documents", "theta"), policy)
    if policy.images.chooses and (policy.workflow is not None or policy.threshold is not None):
        raise ConflictError(
            (*place, "images"),
            "chooses by the knob, between models that neither a workflow nor a threshold knows of",
        )
    if policy.workflow is not None:
        _check_workflow((*place, "workflow"), policy)
    if policy.threshold is not None:
        _check_threshold((*place, "threshold"), policy, router)
    check_tasks(
        place, policy.tasks, policy.candidates, recognised=policy.recognise_tasks is not None
    )
    _check_others(place, policy)
    if router.scorer is not None and "router_deadline_s" not in policy.model_fields_set:
        raise ConflictError(
            (*place, "router_deadline_s"),
            f"router {policy.router!r} asks a model before it decides; say how long that may take "
            "(2 is a start)",
        )


def _check_others(place: Place, policy: PolicyConfig) -> None:
    """Refuse two ways of deciding that know nothing of each other."""
    others: dict[str, object] = {"a workflow": policy.workflow, "a threshold": policy.threshold}
    check_decision_model(
        (*place, "decision_model"),
        policy.decision_model,
        policy.candidates,
        else_decided=next((name for name, each in others.items() if each is not None), None),
    )
    if policy.best_effort is not None:
        others["a decision model"] = policy.decision_model
        others["the choice of images' detail"] = policy.images if policy.images.chooses else None
        check_best_effort(
            (*place, "best_effort"),
            policy.best_effort,
            policy.candidates,
            instead=next((name for name, each in others.items() if each is not None), None),
        )


def _check_theta(place: Place, policy: PolicyConfig) -> None:
    if policy.documents is not None and not policy.documents.features:
        raise ConflictError(place, "is for documents, and `features: false` looks at none")
    if policy.threshold is not None:
        raise ConflictError(
            place, "stands for the knob, and a policy with a threshold goes by none; leave one out"
        )


def _check_workflow(place: Place, policy: PolicyConfig) -> None:
    if policy.threshold is not None:
        raise ConflictError(
            place, "contradicts threshold, which decides before an answer; leave one of them out"
        )
    if not policy.fallback:
        raise ConflictError(
            place, "fallback: false keeps each request with one model; a workflow needs several"
        )


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
