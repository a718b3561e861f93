"""What vendors seal of a model's thoughts, and what becomes of a request whose seals they refuse.

They are bound to a model, and some to what came before them: after a conversation has changed its
model, or its client a message, every further request would be refused.
"""

import re
from collections.abc import Mapping

import msgspec

from app.errors import UpstreamError
from app.providers.base import ModelCall
from app.providers.http.error_body import error_detail
from app.wire.decoding import DECODE_ERRORS

_AGAINST_SEALS = re.compile(
    # Anthropic, also on Bedrock
    r"signature[^.]{0,60}thinking|thinking[^.]{0,120}(?:signature|cannot be modified|must match)"
    # Gemini, Vertex: google-gemini/gemini-cli#13467, decolua/9router#301
    r"|(?:corrupted|invalid) thought signature|thought signature is not valid",
    re.IGNORECASE,
)
_SEALED = ("thinking_blocks", "extra_content")
"""Fields of a message of OpenAI's that hold them."""

_decode_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode = msgspec.json.Encoder().encode


def is_about_seals(body: bytes | None) -> bool:
    """Whether an upstream refused a request for the seals of what was thought in it."""
    detail = None if body is None else error_detail(body)
    return detail is not None and _AGAINST_SEALS.search(detail.message) is not None


def without_seals(messages: bytes) -> bytes:
    """Return a chat's messages without sealed thoughts; the same where there are none."""
    try:
        found = _decode_messages(messages)
        kept = [_unsealed(each) for each in found]
    except DECODE_ERRORS:
        return messages
    return messages if kept == found else _encode(kept)


def unsealed_call(call: ModelCall, failure: UpstreamError) -> ModelCall | None:
    """Return a call without seals where these are why it failed; None where they are not."""
    if not is_about_seals(failure.body):
        return None
    messages = call.fields.get("messages", b"")
    kept = without_seals(messages)
    if kept == messages:
        return None
    return msgspec.structs.replace(call, fields={**call.fields, "messages": kept})


def _unsealed(message: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    kept = {key: value for key, value in message.items() if key not in _SEALED}
    told_calls = bytes(kept.get("tool_calls", b""))
    if b'"extra_content"' in told_calls:
        calls = _decode_messages(told_calls)
        bare = [{key: each[key] for key in each if key not in _SEALED} for each in calls]
        kept["tool_calls"] = msgspec.Raw(_encode(bare))
    return kept
