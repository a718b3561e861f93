"""The upstream calls of a request as its row has them: one JSON array, whatever they were for."""

from collections.abc import Iterable

import msgspec

from app.calls import Call, CallRole, CanarySaid
from app.keys import to_nusd


class Counted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a call, or a request, used and cost as far as that is known."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    cost_nusd: int | None = None


class StoredCall(Counted, frozen=True, kw_only=True, gc=False):
    """One call; rows of earlier releases leave fields out.

    Attributes
    ----------
    id, parent
        Its own id, and that of the decision it belongs to.
    role
        Of `app.calls.CallRole`, or one that a later release added.
    began_ms
        After the request came.
    estimated
        Whether the gateway counted tokens that the upstream did not tell.
    cost_nusd
        In billionths of a US dollar; None where the price is not known.
    changes
        What of the request the model was told otherwise than the client said it.
    deployment
        Which of the model's took it, where it has several.
    deployment_propensity
        How probable that was, where it was drawn (`balance: bandit`).
    canary
        How a model did at a question of the gateway's own; left out of all other calls, of rows of
        earlier releases, and where no answer came.
    """

    id: str = ""
    parent: str = ""
    role: str = CallRole.ANSWER.value
    model: str | None = None
    upstream: str | None = None
    began_ms: float | None = None
    ms: float | None = None
    status: int | None = None
    error: str | None = None
    changes: tuple[str, ...] = ()
    deployment: str | None = None
    deployment_propensity: float | None = None
    canary: CanarySaid | msgspec.UnsetType = msgspec.UNSET


_DECODE = msgspec.json.Decoder(list[StoredCall]).decode


def calls_text(calls: Iterable[Call]) -> str:
    """Return calls as a row has them."""
    return text_of([_stored(call) for call in calls])


def text_of(calls: list[StoredCall]) -> str:
    """Return calls as JSON."""
    return msgspec.json.encode(calls).decode()


def read_calls(text: str | None) -> list[StoredCall]:
    """Return the calls of a row; none where it says nothing that can be read.

    The attempts that rows of earlier releases have are read as calls to answer.
    """
    if not text:
        return []
    try:
        return _DECODE(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return []


def known_nusd(text: str | None) -> int:
    """Return what the calls of a row cost, as far as that is known."""
    return sum(call.cost_nusd or 0 for call in read_calls(text))


def serving_call(calls: Iterable[StoredCall], model: str | None) -> StoredCall | None:
    """Return the last call of a model that served its purpose."""
    found = None
    for call in calls:
        if call.model == model and call.error is None and call.role != CallRole.JUDGE:
            found = call
    return found


def _stored(call: Call) -> StoredCall:
    usage = call.usage
    return StoredCall(
        id=call.call_id,
        parent=call.parent_id,
        role=call.role.value,
        model=call.model_id,
        upstream=call.upstream or None,
        began_ms=round(call.began_s * 1e3, 1),
        ms=round(call.duration_s * 1e3, 1),
        status=call.status,
        error=call.error,
        changes=call.changes,
        deployment=call.deployment,
        deployment_propensity=call.deployment_propensity,
        canary=msgspec.UNSET if call.canary is None else call.canary,
        input_tokens=None if usage is None else usage.input_tokens,
        cached_input_tokens=None if usage is None else usage.cached_input_tokens,
        cache_write_tokens=None if usage is None else usage.cache_write_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        reasoning_tokens=None if usage is None else usage.reasoning_tokens,
        estimated=usage is not None and usage.estimated,
        cost_nusd=None if call.cost_usd is None else to_nusd(call.cost_usd),
    )
