"""What a request's task does to it: whom it is for, how it is decided, what the model is told.

A task comes from the closed vocabulary of a policy. Clients name it, or the policy has it found in
the prompt.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from app.errors import ForbiddenError, InvalidRequestError
from app.gateway.course import Course
from app.gateway.images import with_arms
from app.gateway.permissions import may_move_knob, permit
from app.gateway.plan import WORKFLOW_ERROR
from app.gateway.policy import Policy, TaskRule, WorkflowRule
from app.gateway.request import AskedTask, RouteRequest
from app.wire.instructions import with_instructions
from routers.errors import NoEligibleModelError
from routers.models import Capability
from routers.text.token_estimate import estimate_tokens, estimate_tokens_upper
from routers.types import Conversation, Message, Role
from routers.workflows.chain import Stage, chain_of
from routers.workflows.guarded import Guarded


def with_task(request: RouteRequest, asked: AskedTask) -> RouteRequest:
    """Return a request as its task has it.

    Parameters
    ----------
    asked
        Of the vocabulary of the request's policy.

    Raises
    ------
    InvalidRequestError
        If several tasks are asked for, and the request wants what no chain of answers can give.
    """
    request = msgspec.structs.replace(request, task=asked)
    policy = request.policy
    if not asked.names or policy is None or policy.tasks is None:
        return request
    rules = [policy.tasks[name] for name in asked.names]
    allowed = _allowed(request, policy, rules)
    if len(rules) > 1:
        return msgspec.structs.replace(
            request,
            allowed_model_ids=allowed,
            chain=_chain(request, policy, rules),
            affinity=False,
            session=None,
        )
    (rule,) = rules
    if rule.description is not None:
        request = described(request, rule.description)
    conversation, demand, body = request.conversation, request.demand, request.body
    if rule.instructions is not None:
        first = Message(Role.SYSTEM, rule.instructions)
        alone = Conversation((first,))
        conversation = replace(conversation, messages=(first, *conversation.messages))
        demand = replace(
            demand,
            input_tokens=demand.input_tokens + estimate_tokens(alone),
            input_tokens_upper=demand.input_tokens_upper + estimate_tokens_upper(alone),
        )
        body = with_instructions(body, rule.instructions)
    objective = request.objective
    if request.objective_param is None and rule.objective is not None:
        objective = rule.objective
    return msgspec.structs.replace(
        request,
        allowed_model_ids=allowed,
        objective=objective,
        conversation=conversation,
        demand=demand,
        body=body,
    )


def described(request: RouteRequest, description: str) -> RouteRequest:
    """Return a request with what it is for, as a router reads it."""
    conversation = replace(request.conversation, task=description)
    return msgspec.structs.replace(request, conversation=conversation)


def _allowed(
    request: RouteRequest, policy: Policy, rules: Sequence[TaskRule]
) -> frozenset[str] | None:
    """Return the models that some stage may be taken by."""
    allowed = request.allowed_model_ids
    if any(rule.model_ids is None for rule in rules):
        return allowed
    named = with_arms(policy, frozenset[str]().union(*(rule.model_ids or () for rule in rules)))
    return named if allowed is None else allowed & named


def _chain(request: RouteRequest, policy: Policy, rules: Sequence[TaskRule]) -> WorkflowRule:
    # Of a key with a range of its own for the knob no other position counts.
    key = request.caller.key
    by_task = request.objective_param is None and (key is None or may_move_knob(key))
    chain = chain_of(
        [
            Stage(
                task=rule.name,
                models=None
                if rule.model_ids is None
                else tuple(sorted(with_arms(policy, rule.model_ids))),
                instructions=rule.instructions,
                usd_per_quality=rule.usd_per_quality if by_task else None,
                max_tokens=rule.max_tokens,
            )
            for rule in rules
        ]
    )
    own = policy.workflow
    if own is None:
        return WorkflowRule(workflow=chain)
    if isinstance(own.workflow, Guarded):
        # One guard serves many requests, and this chain one.
        return replace(own, workflow=copy.copy(own.workflow).followed_by(chain), is_fitted=False)
    return replace(own, workflow=chain, is_fitted=False)


def check_chain(request: RouteRequest, param: str) -> None:
    """Refuse a chain for a request that wants more than a text.

    Raises
    ------
    InvalidRequestError
        What of it that is.
    """
    unfit = _unfit(request)
    if unfit is not None:
        raise InvalidRequestError(
            f"{param}: a chain of tasks comes to one text, and the request has {unfit}; leave "
            "that out, or name one task",
            param=param,
        )


def _unfit(request: RouteRequest) -> str | None:
    """Return what of a request no chain can give."""
    demand = request.demand
    if Capability.TOOLS in demand.capabilities:
        return "tools"
    if demand.n_answers > 1:
        return "n > 1"
    return None if request.body.untold is None else request.body.untold[0]


def asked_task(
    names: Sequence[str], policy: Policy | None, param: str, *, others: str
) -> AskedTask:
    """Return the task that a client names.

    Parameters
    ----------
    others
        The policies with tasks, as a list to read.

    Raises
    ------
    InvalidRequestError
        If the policy has no such task, or none at all.
    """
    if policy is None or policy.tasks is None:
        of = f"the policy {policy.name!r}" if policy else "a model asked for by its own name"
        where = f"; these policies have some: {others}" if others else ""
        raise InvalidRequestError(f"{param}: {of} has no tasks{where}", param=param)
    for name in names:
        if name not in policy.tasks:
            raise InvalidRequestError(
                f"{param}: unknown task {name[:80]!r} of the policy {policy.name!r}; known: "
                f"{', '.join(policy.tasks)}",
                param=param,
            )
    return AskedTask(names=tuple(names))


def may_be_recognised(request: RouteRequest) -> bool:
    """Return whether the task of a request is to be looked for in its prompt.

    Not where the client has named one, nor in the middle of a task that a model works on with its
    tools, whatever was said last.
    """
    return request.task is None and request.pinned_model_id is None and not request.locked


def with_recognised(request: RouteRequest, found: tuple[str, ...] | None) -> RouteRequest:
    """Return a request with what was found in its prompt; None where nobody could look.

    What its caller's key allows holds for that, too. Where that, or what the request wants, leaves
    nothing of it, it has no task.
    """
    if found is None:
        return request
    if not found or (len(found) > 1 and _unfit(request) is not None):
        return without_task(request)
    try:
        named = with_task(request, AskedTask(names=found, recognised=True))
        allowed = permit(named, request.caller)
    except ForbiddenError:
        return without_task(request)
    # An empty list allows nobody, where None allows all.
    return without_task(request) if allowed.allowed_model_ids == frozenset() else allowed


def without_task(request: RouteRequest) -> RouteRequest:
    """Return a request of which no task was recognised that could be done."""
    return msgspec.structs.replace(request, task=AskedTask(recognised=True))


def check_begun(request: RouteRequest, course: Course) -> None:
    """Refuse a chain that a client names, and that cannot even begin.

    Raises
    ------
    NoEligibleModelError
        Saying why.
    """
    task = request.task
    if request.chain is None or task is None or task.recognised or course.skipped is None:
        return
    why = CHAIN_OBSTACLES.get(course.skipped, course.skipped)
    raise NoEligibleModelError({task.told: why})


CHAIN_OBSTACLES = {
    "no_model": "no model that is left may take one of its tasks",
    "max_cost": "what all of its tasks may cost together is more than the request may",
    "calls": "it has more tasks than the policy's ceiling on calls",
    "modalities": "it comes to a text, and the request asks for more",
    "n": "it comes to one answer, and the request asks for several",
    "tools": "it comes to a text, and the request has tools",
    "stage_failed": "a task brought nothing",
    WORKFLOW_ERROR: "it failed",
}
"""Why a chain comes to nothing, for people."""
