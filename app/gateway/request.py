"""What the gateway works on: a parsed request, the policy it falls under, where models live."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from app.access.guard import ANONYMOUS, Caller
from app.gateway.decision_model_rule import DecisionModelRule
from app.gateway.flags import NO_RULE, FlagRule
from app.gateway.latency import USUAL_PACE, Pace
from app.gateway.latency_terms import LatencyTerms
from app.gateway.session import Session
from app.lineage import Lineage
from app.providers.base import Provider, Timeouts
from app.types import CHAT_COMPLETIONS, CacheMode
from app.wire.body import Body, Fields
from app.wire.documents import FIELD as DOCUMENTS
from app.wire.documents import in_words, without_declared
from app.wire.parameters import NO_RULES, ParameterRules
from routers.artifact.artifact import RouterArtifact
from routers.artifact.evidence import Evidence
from routers.decision.knob import KnobCurve
from routers.decision.switching import SwitchRule
from routers.request.tasks import TaskRecogniser
from routers.text.housekeeping import Housekeeping
from routers.text.stalls import Stall
from routers.types import (
    Conversation,
    CostQuality,
    Demand,
    ModelFacts,
    ModelSpec,
    Objective,
    OutputLimit,
)
from routers.wishes import Wishes
from routers.workflows.base import Workflow

_MAX_CURVES = 256

IDEMPOTENCY_KEY = b"idempotency-key"
"""Told, in another word, to the upstream of a pinned model; a routed request may go to two, and one
key must not mean two bodies."""


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
class AskedTask:
    """The task of a request.

    Attributes
    ----------
    names
        Of the policy's vocabulary, in the order in which they are done; none where the client wants
        none, or none was recognised.
    recognised
        Whether they were looked for in the prompt; else the client named them.
    """

    names: tuple[str, ...] = ()
    recognised: bool = False

    @property
    def told(self) -> str:
        """The names as they are written."""
        return ">".join(self.names) or ("uncertain" if self.recognised else "off")


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
    hedge_after_s: float | None = None
    """How long the first model may be silent before the next one is started beside it."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where one model is served."""

    spec: ModelSpec
    upstream: str
    upstream_model: str
    provider: Provider
    stream_timeouts: Timeouts
    whole_timeouts: Timeouts
    """Those of a call that does not stream: its first token is its whole answer."""
    weight: float = 1.0
    """Its share of the model's calls, relative to the model's other deployments."""
    region: str | None = None
    """Where it stands."""
    usd_per_hour: float | None = None
    """What it costs while it is there, besides its tokens."""
    max_outstanding: int | None = None
    """Calls that it takes at once."""
    max_rps: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """What it takes; None: as much as comes."""
    pace: Pace = USUAL_PACE
    """How fast it is taken to answer before it has."""
    label: bytes = b""
    """What answers call it; empty where the model has no other."""
    parameters: ParameterRules = NO_RULES
    """What has to be done to a request before the model takes it."""
    takes_documents: bool = False
    """Whether declared documents are left to it in the field `documents`."""
    retries: int = 1
    """How often its model is asked once more, where that is safe, before the next one is."""

    @property
    def key(self) -> tuple[str, str]:
        """Which place it is: a model and its variants have the same ones."""
        return self.upstream, self.upstream_model

    @property
    def name(self) -> str | None:
        """What rows call it; None where its model has no other."""
        return self.label.decode() or None

    def takes(
        self, request: "RouteRequest", fields: Fields, *, dialect: str
    ) -> tuple[Fields, tuple[str, ...]]:
        """Return a request without what the model refuses, and what was changed of it.

        Of a client that wrote to a model by its own name, in the dialect that its upstream speaks,
        every byte is meant: it goes as it is, and what is wrong with it the upstream says. What a
        variant adds to a request has to fit into it, though.
        """
        of_chat = dialect == request.body.dialect == CHAT_COMPLETIONS
        if request.read is not None and of_chat and DOCUMENTS in fields:
            return self._with_documents(request, fields, dialect=dialect)
        return self._by_rules(request, fields, dialect=dialect)

    def _with_documents(
        self, request: "RouteRequest", fields: Fields, *, dialect: str
    ) -> tuple[Fields, tuple[str, ...]]:
        """Tell the model the documents that a request declares, or keep them from it."""
        told: tuple[str, ...] = ()
        if self.spec.withholds_documents:
            fields, told = without_declared(fields)
        elif not self.takes_documents:
            fields, told = in_words(fields)
        fields, changes = self._by_rules(request, fields, dialect=dialect)
        return fields, (*told, *changes)

    def _by_rules(
        self, request: "RouteRequest", fields: Fields, *, dialect: str
    ) -> tuple[Fields, tuple[str, ...]]:
        rules = self.parameters
        if rules is NO_RULES:
            return fields, ()
        if dialect != CHAT_COMPLETIONS and request.names_its_model and not rules.of_a_variant:
            return fields, ()
        return rules.apply(fields, dialect=dialect, every_detail=request.every_detail)


class RouteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, parsed and resolved: past this point only frozen values travel.

    Attributes
    ----------
    pinned_model_id
        The model that the client asked for by id; None when the router decides.
    policy
        How to decide; None only for a pinned model.
    objective
        The knob, already merged from headers, body and the policy's default.
    objective_param
        How the client spelled the knob; None where it left it open.
    overruled
        What it says of the knob in places that another one takes precedence over.
    body
        What the client sent, without the model's name and the routing options.
    caller
        Who asks.
    affinity
        Whether the conversation may keep its model.
    cache
        What the client wants of the response cache; None where it left that to its key.
    session
        The conversation that the request belongs to; None where it is not followed.
    lineage
        The session and agent that the client says it is of; None where it says nothing.
    stall
        How much of its task went wrong so far; None where that is not looked at, or nothing did.
    housekeeping
        What it is for, where its client made it for itself and the policy looks at that.
    task
        What it is for, in the words of its policy's vocabulary; None where nobody has said so.
    chain
        How several tasks come to one answer; None for one task, or none.
    read
        What the router reads of the conversation, where the policy looks at documents: without the
        text of any, and with what they come to.
    read_bare
        The same without the documents that were declared, for candidates that do not get them.
    """

    request_id: str
    decision_id: str
    requested_model: str
    pinned_model_id: str | None
    policy: Policy | None
    objective: Objective | None
    objective_param: str | None = None
    overruled: tuple[str, ...] = ()
    allowed_model_ids: frozenset[str] | None
    max_cost_usd: float | None
    wishes: Wishes | None = None
    """What it wants of models besides quality and price, as far as its policy grants it."""
    fallback: bool
    explain: bool
    conversation: Conversation
    demand: Demand
    body: Body
    stream: bool
    include_usage: bool
    headers: tuple[tuple[bytes, bytes], ...]
    caller: Caller = ANONYMOUS
    affinity: bool = True
    cache: CacheMode | None = None
    session: Session | None = None
    lineage: Lineage | None = None
    stall: Stall | None = None
    housekeeping: Housekeeping | None = None
    task: AskedTask | None = None
    chain: WorkflowRule | None = None
    read: Conversation | None = None
    read_bare: Conversation | None = None
    latency: LatencyTerms | None = None
    """How long its answer may take, and what its time is worth; None where that is open."""
    deadline_s: float | None = None
    """Within which its answer is to be whole, where its policy has tiers and it says so."""
    references: tuple[str, ...] = ()
    """What would be right answers, for whoever is told everything of the request."""
    repeated: bool = False
    """Whether the client sends it once more, after an answer that was no good or did not come."""
    every_detail: bool = False
    """Whether pictures may be looked at otherwise than the client says of them."""
    locked: bool = False
    """Whether it must not leave the model that it was decided for, whatever happens."""

    @property
    def fields(self) -> Fields:
        """The body's top-level fields as they were sent: nothing is translated to look into it."""
        return self.body.sent

    @property
    def workflow(self) -> WorkflowRule | None:
        """How several calls come to its answer: by its own chain of tasks, or as its policy has it.

        None where the decided model answers.
        """
        if self.chain is not None or self.policy is None:
            return self.chain
        return self.policy.workflow

    @property
    def routed_by(self) -> Conversation:
        """What the router reads."""
        return self.conversation if self.read is None else self._with_task(self.read)

    @property
    def routed_bare(self) -> Conversation | None:
        """The same for candidates that do not get the documents that were declared."""
        return None if self.read_bare is None else self._with_task(self.read_bare)

    def _with_task(self, read: Conversation) -> Conversation:
        # What a request is for may be found after its documents were set apart.
        task = self.conversation.task
        return read if read.task == task else replace(read, task=task)

    @property
    def names_its_model(self) -> bool:
        """Whether the client asked for a model by its own name: neither routed nor by an alias."""
        return self.pinned_model_id is not None and self.pinned_model_id == self.requested_model

    @property
    def policy_name(self) -> str:
        """The policy as it is told in headers, logs and metrics."""
        return "pinned" if self.pinned_model_id or self.policy is None else self.policy.name
