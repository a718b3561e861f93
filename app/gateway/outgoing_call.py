"""What a deployment is sent of a request: in which dialect, with which headers and thoughts."""

import asyncio

import msgspec

from app.errors import UpstreamUnsupportedError
from app.gateway.ledger import LedgerEntry
from app.gateway.request import IDEMPOTENCY_KEY, Deployment, RouteRequest
from app.paths import CHAT_COMPLETIONS
from app.providers.base import ModelCall, Progress, Provider
from app.providers.messages.native import without_thoughts
from app.wire.body import Body, Fields
from app.wire.parameter_changes import CHANGES


def with_own_thoughts(call: ModelCall, deployment: Deployment, entry: LedgerEntry) -> ModelCall:
    """Return a call without what another model thought in it, and sealed for itself."""
    if entry.turn is None or not entry.turn.leaves_for(deployment.spec):
        return call
    fields = without_thoughts(call)
    if fields is None:
        return call
    entry.changes[deployment.spec.model_id] += ("thinking of another model=dropped",)
    return msgspec.structs.replace(call, fields=fields)


async def written(body: Body, deployment: Deployment, progress: Progress) -> tuple[str, Fields]:
    """Return what a provider is sent, and its dialect: the client's own where both speak it.

    Raises
    ------
    UpstreamUnsupportedError
        If the request cannot be told in a dialect that the provider speaks.
    """
    if _is_native(body, deployment.provider) and (
        # What a variant says cannot be said in every dialect.
        body.dialect in CHANGES or not deployment.parameters.of_a_variant
    ):
        return body.dialect, body.sent
    progress.sent = False  # a translation that fails costs nothing
    if body.untold is not None:
        param, why = body.untold
        raise UpstreamUnsupportedError(why, param=param)
    chat = await asyncio.to_thread(body.chat) if body.takes_long else body.chat()
    progress.sent = True
    return CHAT_COMPLETIONS, chat


def _is_native(body: Body, provider: Provider) -> bool:
    return body.dialect != CHAT_COMPLETIONS and body.dialect in provider.native_dialects


def headers_for(provider: Provider, request: RouteRequest) -> tuple[tuple[bytes, bytes], ...]:
    """Return the client's headers for a provider: those of a dialect that it does not speak not."""
    if request.body.dialect == CHAT_COMPLETIONS or _is_native(request.body, provider):
        return request.headers
    return tuple(header for header in request.headers if header[0] == IDEMPOTENCY_KEY)
