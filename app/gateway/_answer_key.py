"""When a request may use the response cache, and the name its answer is kept under."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from app.gateway.request import IDEMPOTENCY_KEY, CacheMode, RouteRequest
from app.paths import CHAT_COMPLETIONS
from app.wire.decoding import DECODE_ERRORS
from routers.models import Capability

_LEFT_OUT = frozenset(
    {
        # How the answer is delivered; a cached one is given whole or as a stream.
        "stream",
        "stream_options",
        # Who asks, as told to the provider for its abuse control. No model sees it; tenants are
        # kept apart by the key's id.
        "user",
        "safety_identifier",
        # Book-keeping at the provider.
        "metadata",
        "store",
        # Hints to the provider's own prefix cache.
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Fields that do not matter to the answer; every other one does, unknown ones included."""

_STATEFUL = ("previous_response_id", "conversation", "thread", "container", "background")
"""What the provider remembers under these may change while the request does not."""

_SIDE_EFFECTS = ("store", "web_search_options")
"""The client asked for more than an answer from what it sent."""

_EFFECTS = frozenset({Capability.TOOLS, Capability.MESSAGES_API})

_CANONICAL_BYTES = 262_144


def may_use(request: RouteRequest) -> tuple[bool, bool]:
    """Return whether the cache may be read, and whether the answer may be kept.

    Notes
    -----
    Temperature does not matter: whoever opts in wants the answer there is instead of a new one.
    Tools, web search and `store` have effects beyond the answer, so that they take the request's
    own `on`; what depends on the provider's memory is never cached.
    """
    mode, key = request.cache, request.caller.key
    if mode is CacheMode.OFF or (mode is not CacheMode.ON and (key is None or not key.cache)):
        return False, False
    fields = request.fields
    if any(_given(fields, name) for name in _STATEFUL):
        return False, False
    if mode is CacheMode.ON:
        return True, True
    if not _EFFECTS.isdisjoint(request.demand.capabilities) or any(
        _given(fields, name) for name in _SIDE_EFFECTS
    ):
        return False, False
    return True, mode is not CacheMode.NO_STORE


def answer_name(request: RouteRequest, *, version: str) -> str:
    """Return the name of the answer to a request: a hash of everything that matters to it.

    That is the caller's key, the model or the policy with its objective and constraints, the
    headers an upstream sees, and the body in canonical JSON: keys sorted, no white space, one
    spelling of every string.

    Parameters
    ----------
    version
        Changes whenever the configuration does, and with it what stands behind a model's name.
    """
    policy = request.policy
    target = (
        "answer-1",
        request.caller.key_id,
        version,
        request.pinned_model_id,
        None if policy is None else (policy.name, policy.version),
        repr(request.objective),
        None if request.allowed_model_ids is None else sorted(request.allowed_model_ids),
        request.max_cost_usd,
        None if request.wishes is None else request.wishes.told,
        None if request.task is None else request.task.told,
        # Who answers within a limit may be worse than who answers without one.
        *(() if request.latency is None else (sorted(request.latency.told.items()),)),
        request.body.dialect,
        # What an upstream of the same dialect answered can only be repeated in the way it came.
        request.stream and request.body.dialect != CHAT_COMPLETIONS,
        sorted(
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in request.headers
            if name != IDEMPOTENCY_KEY
        ),
    )
    digest = hashlib.sha256()
    _add(digest, msgspec.json.encode(target))
    for name in sorted(request.fields.keys() - _LEFT_OUT):
        _add(digest, name.encode())
        _add(digest, _canonical(request.fields[name]))
    return f"answer-{digest.hexdigest()}"


def _add(digest: Any, part: bytes) -> None:
    # With its length: no two sequences of parts read the same.
    digest.update(len(part).to_bytes(8, "big") + part)


def _canonical(value: bytes) -> bytes:
    if len(value) > _CANONICAL_BYTES:
        return value  # taken literally: objects of megabytes of JSON take longer than they save
    try:
        return msgspec.json.encode(msgspec.json.decode(value), order="sorted")
    except DECODE_ERRORS:
        return value  # a number beyond all floats: taken literally


def _given(fields: Mapping[str, bytes], name: str) -> bool:
    raw = fields.get(name)
    if raw is None:
        return False
    try:
        return msgspec.json.decode(raw) not in (None, False, "")
    except DECODE_ERRORS:
        return True
