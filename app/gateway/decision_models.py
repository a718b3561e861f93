"""Asking a decision model how hard a request is, before it is decided.

What it said of a prompt is remembered for all requests of a process, and while one request asks,
others with the same prompt wait for what it hears. Whatever comes in between, the request is
decided without it.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from app.calls import CallRole
from app.errors import UpstreamError, UpstreamTimeoutError
from app.gateway.decision_model_rule import DecisionModelRule
from app.gateway.deployments.breaker import Circuit
from app.gateway.ledger import LedgerEntry, code_of
from app.gateway.money.paid import NOTHING_PAID, Paid
from app.gateway.policy import Policy
from app.gateway.questions import Questions, Silence, question_of, unsent
from app.gateway.request import RouteRequest
from app.outcome import DecisionModelResult, DecisionModelSaid
from app.usage import Usage
from routers.decision.judged import (
    JUDGED_MAX_TOKENS,
    Judged,
    judged_by_chances,
    judged_by_words,
    judged_messages,
    judged_text,
)
from routers.decisions import Decision, Reason
from routers.models import ModelSpec
from routers.objectives import CostQuality
from routers.text.conversation import conversation_text
from routers.text.token_estimate import estimate_tokens_upper
from routers.types import Conversation

MAX_KEPT = 10_000
"""Of so many prompts it is remembered what was said; the oldest are forgotten first."""

_FAILED = DecisionModelSaid(result=DecisionModelResult.FAILED)
_LATE = DecisionModelSaid(result=DecisionModelResult.LATE)


class _Kept(NamedTuple):
    judged: Judged
    until: float


_Asking = asyncio.Future[DecisionModelSaid | None]
"""What somebody is being told; None where they went away before."""


@dataclass(slots=True, kw_only=True)
class DecisionModels:
    """Asks the decision models of policies.

    Attributes
    ----------
    max_failures, cooldown_s
        How many failures, malformed and late answers in a row make one be left alone, and for how
        long.
    on_said
        Told what became of each request that a decision model was to be asked about.
    """

    questions: Questions
    specs: Mapping[str, ModelSpec]
    max_failures: int = 5
    cooldown_s: float = 15.0
    on_said: Callable[[Policy, DecisionModelResult], None] = lambda _policy, _result: None
    _kept: OrderedDict[bytes, _Kept] = field(default_factory=OrderedDict)
    _asking: dict[bytes, _Asking] = field(default_factory=dict)
    _circuits: dict[str, Circuit] = field(default_factory=dict)

    def concerns(self, policy: Policy, entry: LedgerEntry) -> bool:
        """Return whether a request is to be judged: its prompt may be shown, and it matters."""
        rule, request = _rule(policy), entry.request
        allowed, wishes = request.allowed_model_ids, request.wishes
        if request.pinned_model_id is not None or (allowed is not None and len(allowed) == 1):
            return False
        if rule.endpoint is not None and wishes is not None and wishes.demands:
            return False  # how safe an endpoint is nobody knows
        if not _prompt(request).strip():
            return False
        return rule.is_feature or not rule.by_level or _is_open(entry)

    def known(self, request: RouteRequest, policy: Policy) -> DecisionModelSaid | None:
        """Return what was said of a request's prompt before; None where nothing was."""
        rule = _rule(policy)
        kept = self._kept.get(_name(rule, _prompt(request)))
        if kept is None or kept.until <= self._now():
            return None
        return self._told(
            policy, DecisionModelSaid(result=DecisionModelResult.HIT, judged=kept.judged)
        )

    def price(self, request: RouteRequest, policy: Policy) -> tuple[int, float | None] | None:
        """Return the tokens that asking takes at most, and what they cost in US dollars.

        None where nothing is booked; the cost is None where a model's price is unknown.
        """
        rule = _rule(policy)
        if rule.model_id is None:
            return None if rule.usd_per_question is None else (0, rule.usd_per_question)
        messages = judged_messages(_prompt(request), rule.levels, rule.kinds)
        n_input = estimate_tokens_upper(Conversation(messages))
        prices = self.specs[rule.model_id].prices
        cost_usd = prices.cost_usd(input_tokens=n_input, output_tokens=JUDGED_MAX_TOKENS)
        return n_input + JUDGED_MAX_TOKENS, cost_usd

    async def ask(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, payable: bool = True
    ) -> DecisionModelSaid:
        """Return what is said of a request within the deadline, or what came in between.

        Parameters
        ----------
        payable
            Whether anybody would pay; else nothing is sent.
        """
        rule = _rule(policy)
        if not payable and (rule.model_id is not None or rule.usd_per_question is not None):
            if rule.model_id is not None:
                unsent(rule.model_id, entry, "model_without_price")
            return self._told(policy, _FAILED)
        prompt, deadline = _prompt(request), self._now() + rule.deadline_s
        name = _name(rule, prompt)
        while (asking := self._asking.get(name)) is not None:
            said = await self._overhear(asking, deadline, entry)
            if said is not None:
                return self._told(policy, said)
        mine: _Asking = asyncio.get_running_loop().create_future()
        self._asking[name] = mine
        answered = None
        try:
            answered = await self._guarded(request, rule, entry, prompt, deadline)
        finally:
            del self._asking[name]
            mine.set_result(answered)
        if answered.judged is not None and rule.cache_s:
            self._kept[name] = _Kept(answered.judged, self._now() + rule.cache_s)
            self._kept.move_to_end(name)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return self._told(policy, answered)

    async def _overhear(
        self, asking: _Asking, deadline: float, entry: LedgerEntry
    ) -> DecisionModelSaid | None:
        """Return what another request is told; None where that went away before it was."""
        entry.wait_begins(self._now())
        try:
            left_s = max(deadline - self._now(), 0.0)
            done, _ = await asyncio.wait((asking,), timeout=left_s)
        finally:
            entry.wait_ends(self._now())
        if not done:
            return _LATE
        said = asking.result()
        if said is None or said.judged is None:
            return said
        return DecisionModelSaid(result=DecisionModelResult.HIT, judged=said.judged)

    async def _guarded(
        self,
        request: RouteRequest,
        rule: DecisionModelRule,
        entry: LedgerEntry,
        prompt: str,
        deadline: float,
    ) -> DecisionModelSaid:
        """Ask, unless it has failed too often of late."""
        circuit = self._circuits.setdefault(
            rule.name, Circuit(max_failures=self.max_failures, cooldown_s=self.cooldown_s)
        )
        began = self._now()
        if not circuit.allows(began):
            if rule.model_id is not None:
                unsent(rule.model_id, entry, "unhealthy")
            return _FAILED
        is_probe = circuit.begin(began)
        said = None
        try:
            left_s = max(deadline - began, 0.0)
            said = await (self._by_model if rule.endpoint is None else self._by_endpoint)(
                request, rule, entry, prompt, left_s
            )
        finally:
            if said is None:
                if is_probe:
                    circuit.abandoned()
            elif said.judged is None:
                circuit.failed(self._now(), began=began)
            else:
                circuit.succeeded(began=began)
        return said

    async def _by_model(
        self,
        request: RouteRequest,
        rule: DecisionModelRule,
        entry: LedgerEntry,
        prompt: str,
        left_s: float,
    ) -> DecisionModelSaid:
        assert rule.model_id is not None  # noqa: S101  (it has no endpoint)
        messages = judged_messages(prompt, rule.levels, rule.kinds)
        question = question_of(request, messages, max_tokens=JUDGED_MAX_TOKENS)
        reply = await self.questions.ask(question, rule.model_id, entry, deadline_s=left_s)
        if reply.said is None:
            return _LATE if reply.silence is Silence.LATE else _FAILED
        return _said(judged_by_words(reply.said, rule.levels, rule.kinds))

    async def _by_endpoint(
        self,
        _request: RouteRequest,
        rule: DecisionModelRule,
        entry: LedgerEntry,
        prompt: str,
        left_s: float,
    ) -> DecisionModelSaid:
        assert rule.endpoint is not None  # noqa: S101  (it is asked)
        began = self._now()
        ended_in: BaseException | None = None
        entry.wait_begins(began)
        try:
            async with asyncio.timeout(left_s):
                data = await rule.endpoint.ask(judged_text(prompt))
        except TimeoutError:
            ended_in = UpstreamTimeoutError("the decision model is late")
            return _LATE
        except UpstreamError as error:
            ended_in = error
            return _FAILED
        except asyncio.CancelledError as error:
            ended_in = error
            raise
        finally:
            entry.wait_ends(self._now())
            if rule.usd_per_question is not None:
                self._book(rule, entry, began, ended_in)
        return _said(judged_by_chances(data, rule.levels, rule.kinds))

    def _book(
        self,
        rule: DecisionModelRule,
        entry: LedgerEntry,
        began: float,
        ended_in: BaseException | None,
    ) -> None:
        """Note a question to an endpoint: what was sent is paid, but for an error status."""
        is_owed = not isinstance(ended_in, UpstreamError) or (
            ended_in.sent and ended_in.status is None
        )
        entry.called(
            CallRole.JUDGE,
            rule.booked_as,
            "",
            duration_s=self._now() - began,
            status=200 if ended_in is None else getattr(ended_in, "status", None),
            error=None if ended_in is None else code_of(ended_in),
            paid=Paid(Usage(input_tokens=0, output_tokens=0), rule.usd_per_question)
            if is_owed
            else NOTHING_PAID,
        )

    def _told(self, policy: Policy, said: DecisionModelSaid) -> DecisionModelSaid:
        self.on_said(policy, said.result)
        return said

    def _now(self) -> float:
        return self.questions.dispatcher.clock()


def by_level(policy: Policy, entry: LedgerEntry, decision: Decision) -> Decision:
    """Return the decision for the model that the request's level goes to, where that may serve.

    Only the policy's own knob gives way: what a client asks for stands, as do what a budget that
    runs low leaves, and what a task has come to that does not get on.
    """
    said = entry.decision_model
    if said is None or said.judged is None or policy.decision_model is None:
        return decision
    if not _is_open(entry):
        return decision
    wanted = policy.decision_model.by_level.get(said.judged.likeliest_level)
    ranked = (decision.model_id, *decision.fallbacks)
    # An arm stands in the place of the candidate that was configured.
    chosen = next((each for each in ranked if wanted in (each, policy.arm_of.get(each))), None)
    stays = decision.reason in (Reason.ONLY_ELIGIBLE, Reason.LATENCY_UNMET)
    if wanted is None or chosen is None or stays:
        return decision
    return replace(
        decision,
        model_id=chosen,
        fallbacks=tuple(each for each in ranked if each != chosen),
        reason=Reason.DECISION_MODEL,
    )


def _is_open(entry: LedgerEntry) -> bool:
    """Return whether nothing but the policy's own knob says how a request is decided."""
    request = entry.request
    own = request.objective_param is None and isinstance(request.objective, CostQuality)
    weighs = request.wishes is not None and bool(request.wishes.weights)
    weighs = weighs or (request.latency is not None and request.latency.usd_per_s > 0)
    as_ever = request.stall is None and request.housekeeping is None
    return own and as_ever and not weighs and entry.pressure is None


def with_judged(request: RouteRequest, said: DecisionModelSaid | None) -> RouteRequest:
    """Return a request as its router reads it, with what was said of it."""
    policy = request.policy
    if said is None or said.judged is None or policy is None or policy.decision_model is None:
        return request
    if not policy.decision_model.is_feature:
        return request
    level = tuple(said.judged.level.values())
    return msgspec.structs.replace(
        request,
        conversation=replace(request.conversation, judged=level),
        read=None if request.read is None else replace(request.read, judged=level),
        read_bare=None if request.read_bare is None else replace(request.read_bare, judged=level),
    )


def _said(judged: Judged | None) -> DecisionModelSaid:
    if judged is None:
        return _FAILED
    return DecisionModelSaid(result=DecisionModelResult.ASKED, judged=judged)


def _rule(policy: Policy) -> DecisionModelRule:
    assert policy.decision_model is not None  # noqa: S101  (who asks looks for it first)
    return policy.decision_model


def _prompt(request: RouteRequest) -> str:
    return conversation_text(request.routed_by).prompt


def _name(rule: DecisionModelRule, prompt: str) -> bytes:
    """Return what an answer is remembered by: everything that it was asked for by."""
    told = repr((rule.name, rule.levels, rule.kinds, judged_text(prompt)))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()
