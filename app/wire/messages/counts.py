"""Token counts in the words of the Messages API, where the classes of input are disjoint."""

from typing import Any

import msgspec

from app.types import Usage
from app.wire.messages.shapes import DECODE_ERRORS

_WRITTEN = ("cache_creation_tokens", "cache_write_tokens")
_decode = msgspec.json.Decoder(dict[str, Any] | None).decode


def messages_usage(
    usage: Usage | None, told: bytes | msgspec.Raw | None, *, cost_usd: float | None = None
) -> dict[str, Any]:
    """Return `usage` of a whole answer, or the cumulative one that ends a stream.

    Parameters
    ----------
    usage
        As it is accounted for; None where that is not known.
    told
        The upstream's `usage` in chat's words, for what the account has no place for.
    """
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0, "cost_usd": cost_usd}
    read = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(_written(told), usage.input_tokens - read)
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    counts["cost_usd"] = cost_usd
    return counts


def _written(told: bytes | msgspec.Raw | None) -> int:
    if not told:
        return 0
    try:
        details = (_decode(told) or {}).get("prompt_tokens_details")
    except DECODE_ERRORS:
        return 0
    if not isinstance(details, dict):
        return 0
    found = (details.get(name) for name in _WRITTEN)
    return next((n for n in found if isinstance(n, int) and n > 0), 0)
