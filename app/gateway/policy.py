"""How a policy decides, ready to use: candidates, artifact, defaults, and its rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.gateway.decision_model_rule import DecisionModelRule
from app.gateway.flags import NO_RULE, FlagRule
from app.gateway.latency_terms import LatencyTerms
from routers.artifact.artifact import RouterArtifact
from routers.artifact.evidence import Evidence
from routers.decision.knob import KnobCurve
from routers.decision.switching import SwitchRule
from routers.models import ModelFacts, ModelSpec
from routers.objectives import CostQuality, Objective, OutputLimit
from routers.request.tasks import TaskRecogniser
from routers.workflows.base import Workflow

_MAX_CURVES = 256


class KnobCurves:
    """The calibrated knob for every set of models that requests allow.

    The knob's promise is about the models in play, so an allow-list has a curve of its own. A
    curve takes milliseconds to fit, too long for the event loop: `ready` says whether it is at
    hand. The most recent ones are kept.
    """

    def __init__(self, artifact: RouterArtifact, candidates: tuple[ModelSpec, ...]) -> None:
        self._artifact = artifact
        self._candidates = candidates
        self._all = artifact.knob_curve(candidates)
        self._curves: dict[frozenset[str], KnobCurve] = {}
        self._dear_usd: dict[frozenset[str] | None, float] = {}

    def ready(self, allowed_model_ids: frozenset[str] | None) -> bool:
        """Return whether `get` is a matter of nanoseconds."""
        return allowed_model_ids is None or allowed_model_ids in self._curves

    def of_workflow(self, t: float, allowed_model_ids: frozenset[str] | None) -> float | None:
        """Return the exchange rate of a position for the workflow that was fitted with the router.

        None where there is no such workflow, or the knob does not steer it.
        """
        knob = self._artifact.workflow_knob
        if knob is None:
            return None
        dear_usd = self._dear_usd.get(allowed_model_ids)
        if dear_usd is None:
            dear_usd = self._artifact.dear_usd(self._allowed(allowed_model_ids))
            while len(self._dear_usd) >= _MAX_CURVES:
                self._dear_usd.pop(next(iter(self._dear_usd)), None)
            self._dear_usd[allowed_model_ids] = dear_usd
        return knob.usd_per_quality(t, dear_usd)

    def _allowed(self, allowed_model_ids: frozenset[str] | None) -> tuple[ModelSpec, ...]:
        if allowed_model_ids is None:
            return self._candidates
        allowed = [spec for spec in self._candidates if spec.model_id in allowed_model_ids]
        return tuple(allowed) or self._candidates

    def get(self, allowed_model_ids: frozenset[str] | None) -> KnobCurve:
        """Return the curve of the candidates that are allowed (None: all of them)."""
        if allowed_model_ids is None:
            return self._all
        curve = self._curves.get(allowed_model_ids)
        if curve is None:
            curve = self._artifact.knob_curve(self._allowed(allowed_model_ids))
            while len(self._curves) >= _MAX_CURVES:
                self._curves.pop(next(iter(self._curves)), None)
            self._curves[allowed_model_ids] = curve
        return curve


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityRule:
    """How conversations keep their model."""

    rule: SwitchRule
    lifetime_s: float
    """How long after its last turn a conversation is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StallRule:
    """What becomes of the knob while a task does not get on.

    Attributes
    ----------
    cost_quality
        Its least position at each level of a stall; the last one holds above, too.
    housekeeping_cost_quality
        Its highest position for titles and the like; None leaves it.
    """

    cost_quality: tuple[float, ...]
    housekeeping_cost_quality: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsRule:
    """What is made of the documents that requests bring.

    Attributes
    ----------
    theta
        How much quality may be given up for cost where there are some; None leaves the knob.
    """

    theta: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BestEffortRule:
    """The tiers of a policy, the best one first, and how one is chosen.

    Attributes
    ----------
    learned
        Whether their load has a price; else the highest one that is in time is taken.
    """

    tiers: tuple[str, ...]
    deadline_s: float
    learned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRule:
    """How several calls come to one answer, and what they may use together.

    Attributes
    ----------
    max_calls
        Upstream calls for one request, retries apart.
    max_cost_usd, max_time_s
        None: no other limit than the request's own.
    is_fitted
        Whether it stands in the policy's artifact, which then says what positions of the knob mean.
    facts
        What is known of the candidates, where it describes them.
    """

    workflow: Workflow
    max_calls: int = 12
    max_cost_usd: float | None = None
    max_time_s: float | None = None
    is_fitted: bool = False
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRule:
    """What a task of a policy's vocabulary comes to.

    Attributes
    ----------
    description
        Told to routers in place of a system prompt; None leaves that.
    model_ids
        The only models that may take it; None for all candidates.
    objective
        What it is decided by where the client says nothing; None for the policy's own.
    usd_per_quality
        The exchange rate that this comes to among its models.
    instructions
        Told to the model before the client's messages.
    max_tokens
        How long its result may be where another task reads it.
    """

    name: str
    description: str | None = None
    model_ids: frozenset[str] | None = None
    objective: CostQuality | None = None
    usd_per_quality: float | None = None
    instructions: str | None = None
    max_tokens: int = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDescription:
    """Who describes applications by their system prompts, and how long that may take."""

    model_id: str
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """How a policy chooses the detail of images.

    Attributes
    ----------
    level
        What it chooses where a client says nothing: `auto` or a level.
    override
        Whether it does so for images too of which the client names a detail.
    by_level
        The policy as it decides at each level, and at `auto`: with variants in place of those
        candidates that have levels of detail.
    """

    level: str
    override: bool
    by_level: Mapping[str, "Policy"]

    def at(self, level: str) -> "Policy":
        """Return the policy at a level; where no candidate has that, at `auto`."""
        return self.by_level.get(level) or self.by_level["auto"]

    def candidate_of(self, model_id: str) -> str | None:
        """Return the candidate that a model is a level of; None where it is none."""
        return self.by_level["auto"].arm_of.get(model_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named way to decide, ready to use: candidates, artifact, defaults."""

    name: str
    version: str
    """Changes whenever the policy, its prices or its artifact change."""
    artifact: RouterArtifact
    candidates: tuple[ModelSpec, ...]
    columns: tuple[int, ...]
    """For each candidate, its column in the artifact's predictions."""
    evidence: Mapping[str, Evidence]
    """What the predictions of each candidate rest on, by its id."""
    knobs: KnobCurves
    default_model_id: str
    objective: Objective
    fallback: bool
    max_attempts: int
    """Up to how many models are tried."""
    router_deadline_s: float
    inline_chars: int
    """Up to how many characters a conversation is decided on the event loop itself."""
    output_limit: OutputLimit = OutputLimit.PREFER
    """What becomes of candidates that give shorter answers than a request asks for."""
    scorer_model_id: str | None = None
    """Who is asked before a decision by a threshold, if anybody."""
    affinity: AffinityRule | None = None
    """How conversations keep their model; None where they need not."""
    stalls: StallRule | None = None
    """What a task is given that does not get on; None looks at none."""
    documents: DocumentsRule | None = None
    """What is made of documents; None looks at none, and their text is read like all other."""
    withholding: tuple[bool, ...] = ()
    """For each candidate, whether it is asked without the documents that a request declares."""
    hedge_after_s: float | Literal["auto"] | None = None
    """How long the first model may be silent before another one is started beside it; `auto`: as
    long as nine of ten of its calls are predicted to be."""
    workflow: WorkflowRule | None = None
    """How several calls come to one answer; None where the decided model answers."""
    flags: FlagRule = NO_RULE
    """What requests may wish of models besides quality and price."""
    tasks: Mapping[str, TaskRule] | None = None
    """The tasks that requests may name; None where there are none."""
    recogniser: TaskRecogniser | None = None
    """What finds the task of a request that names none; None looks for none."""
    describes_apps: AppDescription | None = None
    """Who is asked what an application is for; None asks nobody."""
    decision_model: DecisionModelRule | None = None
    """Who is asked how hard a request is; None asks nobody."""
    images: ImageChoice | None = None
    """How the detail of images is chosen; None takes them as they are sent."""
    low_detail_losses: tuple[float, ...] = ()
    """For each candidate what is taken off its predicted quality where an image is larger than low
    detail shows, since nothing is known of it at that; empty where that is nothing for all."""
    latency: LatencyTerms | None = None
    """How long answers may take, and what their time is worth, where a request says nothing."""
    load_target: float | None = None
    """Which share of its limits a model is to be used at most; None has no price for load."""
    best_effort: BestEffortRule | None = None
    """The tiers of which the best one answers that is in time; None where there are none."""
    arm_of: Mapping[str, str] = field(default_factory=dict)
    """Candidates that stand in the place of one that was configured, and which one that is."""


def promise_doubt(policy: Policy) -> str | None:
    """Say why nobody has verified what the knob of a policy promises; None where outcomes have."""
    unseen = [name for name, known in policy.evidence.items() if known is Evidence.PRIOR]
    if not unseen or len(policy.candidates) == 1:
        return None
    of = "" if len(unseen) == len(policy.evidence) else f"{', '.join(unseen)} "
    return f"evidence prior: {of}known by published results alone; the knob's promise is unverified"
