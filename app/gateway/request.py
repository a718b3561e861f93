"""What the gateway works on: a parsed request, and where models live."""

from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from app.access.guard import ANONYMOUS, Caller
from app.gateway.latency import USUAL_PACE, Pace
from app.gateway.latency_terms import LatencyTerms
from app.gateway.policy import Policy, WorkflowRule
from app.gateway.session import Session
from app.lineage import Lineage
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Provider, Timeouts
from app.wire.body import Body, Fields
from app.wire.documents import FIELD as DOCUMENTS
from app.wire.documents import in_words, without_declared
from app.wire.parameters import NO_RULES, ParameterRules
from routers.models import Demand, ModelSpec
from routers.objectives import Objective
from routers.text.housekeeping import Housekeeping
from routers.text.stalls import Stall
from routers.types import Conversation
from routers.wishes import Wishes

IDEMPOTENCY_KEY = b"idempotency-key"
"""Told, in another word, to the upstream of a pinned model; a routed request may go to two, and one
key must not mean two bodies."""


class CacheMode(StrEnum):
    """What a request wants of the response cache."""

    ON = "on"
    """Use it, even for requests with tools."""
    OFF = "off"
    NO_STORE = "no-store"
    """Take an answer that is there if the key is cached, but keep nothing."""


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
