"""What is carried out for a request: a value, made of its decision."""

import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import msgspec

from app.gateway.course import Course, distinct
from app.gateway.policy import Policy, WorkflowRule
from app.gateway.request import RouteRequest
from routers.decisions import CandidateEstimate, Decision, Exclusion, Reason
from routers.models import MEDIA, Capability
from routers.objectives import CostQuality
from routers.steps import Delegate, Draft, End, Question, Refuse, Run, Serve, Skip, Step
from routers.task import Room, Task
from routers.workflows.base import Workflow

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Try models one after the other; the first that begins to answer serves."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hedged:
    """As `FirstOf`, with another model beside the first once that is silent for `after_s`.

    Attributes
    ----------
    after_s
        In seconds; None: as long as nine of ten calls are predicted to be silent at most.
    """

    models: tuple[str, ...]
    after_s: float | None


@dataclass(frozen=True, slots=True)
class Several:
    """Carry a workflow out, which has begun; where it ends with a model, others may stand in.

    Attributes
    ----------
    models
        All that may be called for an answer, the decided one first.
    """

    course: Course
    models: tuple[str, ...]


Plan = FirstOf | Hedged | Several

WORKFLOW_ERROR = "workflow_error"
"""Why a request goes to single choice whose workflow does what none may."""
_STEPS, _ENDS = (Draft, Question), (Serve, Delegate, Refuse, Skip)
_LACKS_MEDIA = frozenset({Exclusion.VISION, Exclusion.AUDIO, Exclusion.VIDEO, Exclusion.FILE})
_READ_TOO = ("tools", "functions", "response_format", "prediction")
_NOT_TEXT = ("audio", "modalities")
"""Fields that ask for an answer that is more than text."""
_TEXT_ALONE = frozenset({b"null", b'["text"]'})
_NOTHING: Mapping[str, float] = {}
_RANDOM = random.SystemRandom()
"""What a workflow draws, such as the words around a judge's question, nobody can know before."""


def plan_for(request: RouteRequest, decision: Decision, course: Course | None = None) -> Plan:
    """Return how a request is answered.

    Fallbacks are candidates of the decision, so they passed its constraints (allowed models, cost
    limit) too. A request that is pinned, locked or wants none stays with the one model.

    Parameters
    ----------
    course
        Of a workflow that has begun. Where the decision has come to be for another model than
        that begins with, as by the conversation's own, one choice answers.
    """
    policy = request.policy
    stays = policy is None or request.locked or not (request.fallback or request.chain is not None)
    if stays and not (course is not None and course.is_guarded):
        return FirstOf((decision.model_id,))
    models = (decision.model_id, *decision.fallbacks)
    if course is not None and course.is_guarded:
        _answer_by_one(request, decision, course)
        return Several(course, models)
    if course is not None:
        chosen = decision.reason is Reason.WORKFLOW
        if course.run is not None and (chosen or decision.model_id in course.begins_with):
            return Several(course, models)
        if not chosen:
            course.overrule(decision.reason.value)
    return first_of(request, decision, models)


def _answer_by_one(request: RouteRequest, decision: Decision, course: Course) -> None:
    """Have one choice answer what passes a guard, where the decision has come to be for another."""
    assert course.task is not None  # noqa: S101  (it was begun)
    guarding = course.task.guarding
    if guarding.single is None and (request.locked or decision.reason is not Reason.WORKFLOW):
        guarding.single = decision.reason.value


def first_of(
    request: RouteRequest, decision: Decision, models: tuple[str, ...]
) -> FirstOf | Hedged:
    """Return how one of some models answers, with a hedge where the policy has one."""
    policy = request.policy
    if policy is None:
        return FirstOf(models)
    models = models[: policy.max_attempts]
    if (
        policy.hedge_after_s is None
        or request.repeated
        or len(models) == 1
        or not _may_cost(request, decision, models, n_together=2)
    ):
        return FirstOf(models)
    after_s = policy.hedge_after_s
    return Hedged(models, None if after_s == "auto" else after_s)


def _may_cost(
    request: RouteRequest, decision: Decision, models: tuple[str, ...], *, n_together: int
) -> bool:
    """Return whether any so many of the models stay within what the request may cost."""
    if request.max_cost_usd is None:
        return True
    estimates = [decision.estimate(model_id) for model_id in models]
    upper = [each.cost_usd_upper for each in estimates if each is not None]
    known = [cost for cost in upper if cost is not None]
    return len(known) == len(models) and sum(sorted(known)[-n_together:]) <= request.max_cost_usd


def begun(
    request: RouteRequest,
    decision: Decision,
    policy: Policy,
    rule: WorkflowRule,
    *,
    left_s: float,
    degraded: bool = False,
    usual_s: Mapping[str, float] = _NOTHING,
) -> tuple[Decision, Course]:
    """Begin a policy's workflow; return the decision that it begins with.

    Where one choice answers instead, that is the router's own.

    Parameters
    ----------
    left_s
        What is left of the time that the request may take.
    degraded
        Whether a budget runs low, so that cheaper answers are to be had.
    usual_s
        What answers of models usually take, as far as any were measured.
    """
    course = Course(kind=rule.workflow.kind)
    why, guards = _why_none(request, rule, degraded=degraded), rule.workflow.guards
    if why is None and decision.reason is Reason.LATENCY_UNMET:
        why = "latency"  # one answer is late already
    if why is not None and not guards:
        course.skip(why)
        return decision, course
    course.task = task = _task(request, decision, policy, rule, left_s=left_s, usual_s=usual_s)
    if guards:
        course.guards, task.guarding.single = True, why
        untold = request.body.untold is not None
        task.guarding.unseen = untold or bool(request.demand.capabilities & MEDIA)
        task.guarding.further = _further_text(request)
    course.run = _run(rule.workflow, task)
    steps = next_steps(course, policy.name)
    if isinstance(steps, tuple):
        course.first = steps
        drafts = distinct(
            each.model_id
            for each in steps
            if isinstance(each, Draft) and task.candidate(each.model_id) is not None
        )
        return _moved(decision, drafts or (decision.model_id,)), course
    if isinstance(steps, Delegate) and task.candidate(steps.model_id) is None:
        steps = spoilt(course)
    match steps:
        case Delegate(model_id=model_id, messages=None) if not course.is_guarded:
            course.skip(steps.by)
            return _moved(decision, (model_id,), propensity=steps.propensity), course
        case Skip(why=why) if not course.is_guarded:
            course.skip(why)
            return decision, course
        case Delegate() | Serve() | Refuse() | Skip():
            course.run = _ended(steps)
            next(course.run)
            return _moved(decision, (decision.model_id,)), course
        case _:
            assert_never(steps)


def _further_text(request: RouteRequest) -> str:
    """Return what a model reads of a request besides its messages, as a guard is to read it."""
    chat = request.body.chat()
    return "\n".join(_unescaped(chat[name]) for name in _READ_TOO if name in chat)


def _unescaped(raw: bytes) -> str:
    """Return JSON with its characters as they are read, however they were written."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.decode("utf-8", "replace")  # halves of surrogate pairs
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def next_steps(course: Course, policy_name: str, answers: object = None) -> tuple[Step, ...] | End:
    """Return what a workflow wants next, or how it ends.

    It may be anybody's, and what it does with answers nobody can foresee: where it raises, or
    wants what there is not, single choice is better than an error.
    """
    assert course.run is not None  # noqa: S101  (it was begun)
    try:
        steps = tuple(course.run.send(answers))  # type: ignore[arg-type]  # None begins it
    except StopIteration as stop:
        end: End = stop.value
        if isinstance(end, _ENDS):
            return end
        _log.error("workflow %s of policy %s ended in no end", course.kind, policy_name)
    except Exception:  # noqa: BLE001
        _log.exception("workflow %s of policy %s failed", course.kind, policy_name)
    else:
        if all(isinstance(each, _STEPS) for each in steps):
            return steps
        _log.error("workflow %s of policy %s wants no steps", course.kind, policy_name)
    return spoilt(course)


def spoilt(course: Course) -> End:
    """Return how a workflow ends that did what none may: a guard that fails lets nothing pass."""
    if course.is_guarded:
        return Refuse(by=course.kind, why="the guard of this policy failed")
    return Skip(why=WORKFLOW_ERROR)


def _run(workflow: Workflow, task: Task) -> Run:
    """Begin a workflow where its first step is asked for, so that all it raises is raised there."""
    return (yield from workflow.run(task))


def _ended(end: End) -> Run:
    """Return a run that ends at once."""
    yield ()
    return end


def _moved(decision: Decision, first: tuple[str, ...], *, propensity: float = 1.0) -> Decision:
    others = (decision.model_id, *decision.fallbacks)
    return replace(
        decision,
        model_id=first[0],
        fallbacks=distinct((*first[1:], *(each for each in others if each != first[0]))),
        reason=Reason.WORKFLOW,
        propensity=decision.propensity * propensity,
    )


def _task(
    request: RouteRequest,
    decision: Decision,
    policy: Policy,
    rule: WorkflowRule,
    *,
    left_s: float,
    usual_s: Mapping[str, float],
) -> Task:
    limits = [each for each in (request.max_cost_usd, rule.max_cost_usd) if each is not None]
    objective = policy.objective if request.objective is None else request.objective
    rate = decision.usd_per_quality
    if rule.is_fitted and isinstance(objective, CostQuality):
        # A position recovers another share of quality with it than with single choice.
        fitted = policy.knobs.of_workflow(objective.t, request.allowed_model_ids)
        rate = rate if fitted is None else fitted
    return Task(
        conversation=request.conversation,
        candidates=tuple(each for each in decision.candidates if each.eligible),
        text_only=_text_only(request, decision, policy) if rule.workflow.retells else (),
        usd_per_quality=rate,
        model_id=decision.model_id,
        room=Room(
            calls=rule.max_calls,
            cost_usd=min(limits) if limits else None,
            time_s=left_s if rule.max_time_s is None else min(left_s, rule.max_time_s),
        ),
        rng=_RANDOM,
        x=policy.artifact.featurizer.transform([request.routed_by])[0]
        if rule.workflow.reads_features
        else None,
        facts={
            model_id: replace(known, latency_s=usual_s.get(model_id, known.latency_s))
            for model_id, known in rule.facts.items()
        },
    )


def _text_only(
    request: RouteRequest, decision: Decision, policy: Policy
) -> tuple[CandidateEstimate, ...]:
    """Return the candidates that only lack eyes and ears for a request."""
    needed, brings = request.demand.capabilities, request.demand.capabilities & MEDIA
    if not brings:
        return ()
    allowed, prompt = request.allowed_model_ids, request.demand.input_tokens_upper
    able = {
        spec.model_id
        for spec in policy.candidates
        if needed - brings <= spec.capabilities
        and (allowed is None or spec.model_id in allowed)
        and prompt <= spec.context_window_tokens
    }
    return tuple(
        each
        for each in decision.candidates
        if each.exclusion in _LACKS_MEDIA and each.model_id in able
    )


def _why_none(request: RouteRequest, rule: WorkflowRule, *, degraded: bool) -> str | None:
    """Return in a word why one choice answers a request; None where the workflow takes it."""
    demand, fields = request.demand, request.fields
    reasons = {
        # The client says by itself how it wants to be answered.
        "knob": request.objective_param is not None and not rule.workflow.heeds_knob,
        "budget": degraded and not rule.workflow.heeds_knob,
        "no_fallback": request.pinned_model_id is not None
        or request.locked
        or not (request.fallback or request.chain is not None),
        "n": demand.n_answers > 1,
        # What they bring is for the model that called them.
        "tools": Capability.TOOLS in demand.capabilities,
        "modalities": any(
            fields.get(name, b"null").strip() not in _TEXT_ALONE for name in _NOT_TEXT
        ),
        "media": rule.workflow.reads_text_only and bool(demand.capabilities & MEDIA),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
