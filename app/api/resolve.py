"""From what a client typed to what the gateway does: names, knobs and defaults come together."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from app.access.guard import ANONYMOUS, Caller
from app.api.dialects.base import ParsedRequest
from app.api.kinds import check_kind, with_model_of_its_kind
from app.api.knobs import Knobs, told_objective
from app.errors import InvalidRequestError
from app.gateway.efforts import allowed_by_effort
from app.gateway.flags import check_pinned, granted
from app.gateway.images import AS_SENT, Looked, looked
from app.gateway.latency_terms import LatencyTerms, terms
from app.gateway.names import Meant, Names
from app.gateway.policy import Policy
from app.gateway.request import IDEMPOTENCY_KEY, AskedTask, CacheMode, RouteRequest
from app.gateway.tasks import asked_task, check_chain, with_task
from app.head import NO_HEAD, RequestHead
from app.ids import new_id
from routers.models import CHAT, Demand
from routers.objectives import CostQuality, Objective, StrongThreshold
from routers.wishes import NO_TRAITS, Flags, Wishes

_RETRY_COUNT = b"x-stainless-retry-count"
"""How often OpenAI's and Anthropic's libraries have sent the request before."""


def resolve(
    chat: ParsedRequest,
    header_knobs: Knobs,
    names: Names,
    *,
    request_id: str,
    head: RequestHead = NO_HEAD,
    passed_on: Sequence[bytes] = (),
    caller: Caller = ANONYMOUS,
    in_prompt: Flags | None = None,
) -> RouteRequest:
    """Merge a parsed body, its routing headers and the policy's defaults into one request.

    Parameters
    ----------
    passed_on
        The only headers of the client that an upstream ever sees, besides an idempotency key.
    in_prompt
        Flags that stood before the prompt, where the policy lets them count.

    Raises
    ------
    ModelNotFoundError
        If the `model` is none of the names.
    InvalidRequestError
        If the routing options name something unknown or contradict the model name.
    """
    knobs = header_knobs.over(chat.knobs)
    if in_prompt is not None:
        knobs = knobs.over(Knobs(flags=in_prompt, params={"flags": "messages"}))
    if chat.kind != CHAT:
        chat = with_model_of_its_kind(chat, names)
    meant = names.meant(chat.model)
    pinned, policy, objective = _target(chat.model, meant, knobs, names)
    if chat.kind != CHAT or pinned in names.others:
        check_kind(chat, pinned, names)
    if knobs.model_ids is not None:
        knobs = _with_models_meant(knobs, names)
        _check_models(knobs, names, pinned)
    allowed = knobs.model_ids
    if pinned is not None:
        # A price limit needs predictions, so a pinned model is then a policy of one candidate.
        policy = None if knobs.max_cost_usd is None else _policy_of(pinned, knobs, names)
        allowed = frozenset({pinned})
    elif isinstance(objective, StrongThreshold):
        pair = frozenset({objective.strong, objective.weak})
        allowed = pair if allowed is None else allowed & pair
    elif policy is not None:
        allowed = allowed_by_effort(policy, chat.body, allowed)
    demand, every_detail = chat.demand, False
    if knobs.detail is not None or (demand.media is not None and policy is not None):
        seen = _looked(policy, pinned, objective, knobs, demand)
        if seen is not None:
            policy, demand, every_detail = seen.policy, seen.demand, seen.every
            allowed = seen.allowed(allowed)
    request = RouteRequest(
        request_id=request_id,
        decision_id=new_id("dec-"),
        requested_model=chat.model,
        pinned_model_id=pinned,
        policy=policy,
        objective=objective,
        objective_param=_objective_param(chat.model, meant, knobs),
        overruled=_overruled(header_knobs, chat.knobs, meant),
        allowed_model_ids=allowed,
        max_cost_usd=knobs.max_cost_usd,
        wishes=_wishes(knobs, pinned, policy, names),
        latency=_latency_terms(knobs, policy),
        fallback=_may_fall_back(knobs, policy) and pinned is None,
        explain=bool(knobs.explain),
        references=knobs.reference or (),
        conversation=chat.conversation,
        demand=demand,
        every_detail=every_detail,
        body=chat.body,
        stream=chat.stream,
        include_usage=chat.include_usage,
        headers=_passed_on(head, passed_on, caller, pinned=pinned is not None),
        caller=caller,
        affinity=knobs.affinity is not False,
        cache=knobs.cache if chat.kind == CHAT else CacheMode.OFF,
        repeated=_is_repeated(head),
        deadline_s=None
        if knobs.deadline_s is None
        else _deadline_s(knobs.deadline_s, knobs, pinned, policy, names),
    )
    return request if knobs.task is None else _for_task(request, knobs.task, knobs, names)


def _for_task(
    request: RouteRequest, tasks: Sequence[str], knobs: Knobs, names: Names
) -> RouteRequest:
    if not tasks:
        return with_task(request, AskedTask())
    param = knobs.params["task"]
    policy = None if request.pinned_model_id is not None else request.policy
    asked = asked_task(tasks, policy, param, others=names.policies_with_tasks())
    if len(tasks) > 1:
        check_chain(request, param)
    return with_task(request, asked)


def _wishes(knobs: Knobs, pinned: str | None, policy: Policy | None, names: Names) -> Wishes | None:
    param = knobs.params.get("flags")
    if pinned is not None:
        if knobs.flags is None:
            return None
        spec = names.specs.get(pinned)
        traits = NO_TRAITS if spec is None else spec.traits
        return check_pinned(knobs.flags, pinned, traits, param=param)
    if policy is None:
        return None
    return granted(
        knobs.flags, policy.flags, policy.candidates, policy_name=policy.name, param=param
    )


def _latency_terms(knobs: Knobs, policy: Policy | None) -> LatencyTerms | None:
    default = None if policy is None else policy.latency
    if knobs.max_latency_s is None and knobs.max_ttft_s is None and knobs.usd_per_s is None:
        return default
    return terms(
        max_total_s=knobs.max_latency_s,
        max_ttft_s=knobs.max_ttft_s,
        usd_per_s=knobs.usd_per_s,
        default=default,
    )


def _deadline_s(
    deadline_s: float, knobs: Knobs, pinned: str | None, policy: Policy | None, names: Names
) -> float:
    """Return a request's own deadline; refuse it where it would change nothing."""
    param = knobs.params["deadline_ms"]
    if pinned is not None or policy is None:
        raise InvalidRequestError(
            f"{param} chooses between the tiers of a policy, and the model is named", param=param
        )
    if policy.best_effort is None:
        able = [name for name, each in names.policies.items() if each.best_effort is not None]
        raise InvalidRequestError(
            f"{param} is for policies with `best_effort`, and {policy.name!r} has none; those "
            f"that have: {', '.join(able) or 'none'}",
            param=param,
        )
    return deadline_s


def _may_fall_back(knobs: Knobs, policy: Policy | None) -> bool:
    if knobs.fallback is not None:
        return knobs.fallback
    return policy is not None and policy.fallback


def _looked(
    policy: Policy | None,
    pinned: str | None,
    objective: Objective | None,
    knobs: Knobs,
    demand: Demand,
) -> Looked | None:
    """Return how images are looked at, where that is chosen."""
    wish, param = knobs.detail, knobs.params.get("detail")
    several = knobs.task is not None and len(knobs.task) > 1
    if policy is None or pinned is not None or isinstance(objective, StrongThreshold) or several:
        if wish is None or wish == AS_SENT:
            return None
        raise InvalidRequestError(
            f"{param} is for requests that a policy decides by the knob; images for a model that "
            "is named, or for several tasks, are taken as they are sent",
            param=param,
        )
    return looked(policy, demand, wish, param)


def _is_repeated(head: RequestHead) -> bool:
    count = head.get(_RETRY_COUNT)
    return count is not None and count != b"0" and count.isdigit()


def _passed_on(
    head: RequestHead, names: Sequence[bytes], caller: Caller, *, pinned: bool
) -> tuple[tuple[bytes, bytes], ...]:
    passed_on: tuple[tuple[bytes, bytes], ...] = ()
    for name in names:
        if name[-1:] == b"*":
            begins = tuple([each.removesuffix(b"*") for each in names])
            names = [each for each in head if each.startswith(begins)]
            break
    for name in names:
        if head.get(name) is not None:
            passed_on += tuple([(name, value) for value in head.all(name)])
    if pinned and head.get(IDEMPOTENCY_KEY) is not None:
        keys = [value for value in head.all(IDEMPOTENCY_KEY) if value]
        if keys:
            passed_on += ((IDEMPOTENCY_KEY, _scoped(caller, b", ".join(keys))),)
    return passed_on


def _scoped(caller: Caller, idempotency_key: bytes) -> bytes:
    """Return what stands for a caller's key before an upstream, the same for the same key always.

    An upstream knows all callers by one credential: of two that sent the same word, it would hand
    the second one the answer of the first.
    """
    whole = hashlib.sha256(b"%d %b " % (len(caller.key_id.encode()), caller.key_id.encode()))
    whole.update(idempotency_key)
    return b"steelyard-" + whole.hexdigest()[:48].encode()


def _objective_param(model: str, meant: Meant, knobs: Knobs) -> str | None:
    """Return how the client spelled the objective; what the operator wrote is none of its words."""
    if knobs.objective is not None:
        return knobs.objective_param
    in_name = meant.cost_quality is not None or model.startswith("router-")
    return "model" if in_name and meant.by_client else None


def _overruled(in_headers: Knobs, in_body: Knobs, meant: Meant) -> tuple[str, ...]:
    """Return what the request says of the knob in a place that another one takes precedence over.

    A header comes before the body, the body before the name.
    """
    if in_headers.objective is None and (in_body.objective is None or meant.cost_quality is None):
        return ()
    in_name = None if meant.cost_quality is None else CostQuality(meant.cost_quality)
    counts = in_headers.objective or in_body.objective
    said = {"body": in_body.objective, "name": in_name}
    return tuple(
        f"{place}; {told_objective(each)}"
        for place, each in said.items()
        if each is not None and each != counts
    )


def _target(
    model: str, meant: Meant, knobs: Knobs, names: Names
) -> tuple[str | None, Policy | None, Objective | None]:
    """Return the pinned model, or the policy and the objective to decide by."""
    if meant.name == "auto":
        policy = _policy(model, meant, knobs, names)
        in_name = None if meant.cost_quality is None else CostQuality(meant.cost_quality)
        named = meant.policy is not None or knobs.policy is not None
        default = None if named else names.default_objective
        return None, policy, knobs.objective or in_name or default or policy.objective
    if meant.name in names.model_ids:
        return meant.name, None, None
    if meant.name.startswith("router-"):
        policy, objective = _threshold(model, meant.name, names)
        if knobs.objective is not None:
            raise InvalidRequestError(
                f"the model name {model!r} already sets the threshold; "
                "leave the other routing objective out",
                param="model",
            )
        if knobs.policy is not None:
            raise InvalidRequestError(
                f"the model name {model!r} already names its router; leave the policy out",
                param="model",
            )
        return None, policy, objective
    raise names.not_found(model)


def _policy(model: str, meant: Meant, knobs: Knobs, names: Names) -> Policy:
    if not names.policies:
        raise names.not_found(model)
    if knobs.policy is not None and knobs.policy not in names.policies:
        raise InvalidRequestError(
            f"unknown policy {knobs.policy[:80]!r}; known: {names.told_policies()}",
            param=knobs.params["policy"],
        )
    in_name = meant.policy
    if in_name and knobs.policy is not None and knobs.policy != in_name:
        stands = "" if meant.by_client else f", which stands for the policy {in_name!r},"
        raise InvalidRequestError(
            f"the model name {model[:80]!r}{stands} and the policy {knobs.policy!r} contradict "
            "each other",
            param=knobs.params["policy"],
        )
    return names.policies[in_name or knobs.policy or names.default_policy]


def _threshold(sent: str, model: str, names: Names) -> tuple[Policy, StrongThreshold]:
    # Names of routers hold no "-", numbers may: router-mf-1e-3.
    name, _, text = model.removeprefix("router-").partition("-")
    pair = names.pairs.get(name)
    if pair is None:
        raise names.not_found(sent)
    for stored, objective in pair.stored.items():
        if text == stored:
            return pair.policy, objective
    try:
        threshold = float(text) if "_" not in text else -1.0
    except ValueError:
        raise names.not_found(sent) from None
    if not 0 <= threshold <= 1:
        raise InvalidRequestError(
            f"the threshold in {model[:80]!r} must be a number from 0 to 1", param="model"
        )
    return pair.policy, StrongThreshold(strong=pair.strong, weak=pair.weak, threshold=threshold)


def _with_models_meant(knobs: Knobs, names: Names) -> Knobs:
    """Return the options with the models that the aliases of an allow-list stand for."""
    model_ids = knobs.model_ids or frozenset()
    targets = {name: names.aliases.target(name) for name in model_ids - names.model_ids}
    meant = {
        name: target.name
        for name, target in targets.items()
        if target is not None and target.name in names.model_ids
    }
    if not meant:
        return knobs
    return replace(knobs, model_ids=frozenset(meant.get(name, name) for name in model_ids))


def _check_models(knobs: Knobs, names: Names, pinned: str | None) -> None:
    model_ids = knobs.model_ids or frozenset()
    unknown = sorted(model_ids - names.model_ids)
    if unknown:
        raise InvalidRequestError(
            f"unknown model {unknown[0][:80]!r} in the allowed models; "
            f"known: {names.listed_models()}",
            param=knobs.params["models"],
        )
    if pinned is not None and pinned not in model_ids:
        raise InvalidRequestError(
            f"the model {pinned!r} is not among the allowed models", param=knobs.params["models"]
        )


def _policy_of(model_id: str, knobs: Knobs, names: Names) -> Policy:
    for policy in names.policies.values():
        if any(spec.model_id == model_id for spec in policy.candidates):
            return policy
    raise InvalidRequestError(
        f"the cost limit cannot be checked for {model_id!r}: no policy predicts it",
        param=knobs.params["max_cost"],
    )
