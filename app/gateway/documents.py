"""Route by the documents of a request: told to the router in numbers, never in their own words."""

from collections.abc import Sequence
from dataclasses import replace as with_

from msgspec.structs import replace

from app.gateway.request import RouteRequest
from app.paths import CHAT_COMPLETIONS
from app.wire.documents import attached_in, declared_in, words_of
from app.wire.turns import Turn
from routers.objectives import CostQuality, MaxQualityLoss
from routers.request.documents import set_apart
from routers.text.token_estimate import estimate_tokens, estimate_tokens_upper
from routers.types import Conversation, Message, Role


def heed_documents(request: RouteRequest, turns: Sequence[Turn]) -> RouteRequest:
    """Return the request with what its router reads of it, where its policy looks at documents.

    Raises
    ------
    InvalidRequestError
        If it declares documents that are none.
    """
    policy = request.policy
    if policy is None or policy.documents is None or request.pinned_model_id is not None:
        return request
    conversation = request.conversation
    attached = attached_in(turns)
    of_chat = request.body.dialect == CHAT_COMPLETIONS
    declared = declared_in(request.fields) if of_chat else ()
    read = set_apart(with_(conversation, documents=(*declared, *attached)))
    if not declared:
        return replace(request, read=read)
    bare = None
    if any(policy.withholding):
        bare = set_apart(with_(conversation, documents=attached))
    words, demand = words_of(request.fields), request.demand
    tokens, upper = (estimate(words) for estimate in (estimate_tokens, estimate_tokens_upper))
    return replace(
        request,
        read=read,
        read_bare=bare,
        conversation=_told(conversation, words),
        demand=with_(
            demand,
            input_tokens=demand.input_tokens + tokens,
            input_tokens_upper=demand.input_tokens_upper + upper,
            document_tokens=tokens,
            document_tokens_upper=upper,
        ),
    )


def _told(conversation: Conversation, words: str) -> Conversation:
    """Return the conversation as a model is told it, which judges, guards and logs go by."""
    messages = list(conversation.messages)
    for at in reversed(range(len(messages))):
        if messages[at].role is Role.USER:
            messages[at] = with_(messages[at], text=f"{words}\n\n{messages[at].text}")
            return with_(conversation, messages=tuple(messages))
    return with_(conversation, messages=(*messages, Message(Role.USER, words)))


def by_theta(request: RouteRequest) -> RouteRequest:
    """Return the request with the quality that may be given up where documents came with it.

    Only the policy's own knob gives way: what a client asks for stands, as does what a task has
    come to that does not get on.
    """
    policy, read = request.policy, request.read
    if policy is None or policy.documents is None or policy.documents.theta is None:
        return request
    if read is None or read.numbers is None or read.numbers.n == 0:
        return request
    own = isinstance(request.objective, CostQuality) and request.objective_param is None
    if not own or request.stall is not None or request.housekeeping is not None:
        return request
    return replace(request, objective=MaxQualityLoss(policy.documents.theta))
