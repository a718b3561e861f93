"""What clients of Anthropic's models say of thinking."""

from typing import Any

_MIN_THINKING_TOKENS = 1024
"""Anthropic takes no smaller budget."""


def is_on(thinking: Any) -> bool:
    """Whether a model is asked to think, by the value of `thinking`."""
    return isinstance(thinking, dict) and thinking.get("type") not in (None, "disabled")


def bounded_thinking(own: dict[str, Any], max_tokens: int | None) -> dict[str, Any]:
    """Return what a client says of thinking, such that it fits into the answer.

    Anthropic refuses a budget that is not below `max_tokens`, which may be the gateway's word.
    """
    budget = own.get("budget_tokens")
    if max_tokens is None or not isinstance(budget, int | float) or budget < max_tokens:
        return own
    if max_tokens <= _MIN_THINKING_TOKENS:
        return {"type": "disabled"}
    return {**own, "budget_tokens": max_tokens - 1}
