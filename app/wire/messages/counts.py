"""Token counts in the words of the Messages API, where the classes of input are disjoint."""

from typing import Any

from app.usage import Usage


def messages_usage(usage: Usage | None, *, cost_usd: float | None = None) -> dict[str, Any]:
    """Return `usage` of a whole answer, or the cumulative one that ends a stream.

    Parameters
    ----------
    usage
        As it is accounted for; None where that is not known.
    """
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0, "cost_usd": cost_usd}
    read = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - read)
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
    if hour := min(usage.cache_write_1h_tokens, written):
        counts["cache_creation"] = {
            "ephemeral_5m_input_tokens": written - hour,
            "ephemeral_1h_input_tokens": hour,
        }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    counts["cost_usd"] = cost_usd
    return counts
