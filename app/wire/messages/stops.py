"""Why an answer of chat completions ended and what a tool is called with, in Anthropic's words."""

from typing import Any

import msgspec

from app.wire.chat_answer import Choice
from app.wire.decoding import DECODE_ERRORS

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""A reason that is not in it is told as `end_turn`: the answer is complete, whatever ended it."""


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why an answer ended."""

    reason: str
    sequence: str | None = None
    refusal: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The reason as the Messages API has it."""
        told: dict[str, Any] = {"stop_reason": self.reason, "stop_sequence": self.sequence}
        if self.reason == "refusal":
            details = {"type": "refusal", "category": None, "explanation": self.refusal}
            told["stop_details"] = details
        return told


def stop_of(choice: Choice, *, has_calls: bool, refusal: str, stop_sequences: list[str]) -> Stop:
    """Return why an answer ended.

    Parameters
    ----------
    choice
        With the reason that the server gave, if it gave one.
    has_calls
        Whether a tool is called: many servers then say no more than that they stopped.
    refusal
        What the model said in place of an answer.
    stop_sequences
        Those of the request.
    """
    reason = STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")
    if refusal:
        return Stop(reason="refusal", refusal=refusal)
    if reason in ("end_turn", "tool_use"):
        reason = "tool_use" if has_calls else "end_turn"
    if reason == "end_turn" and choice.stop_reason in stop_sequences:
        return Stop(reason="stop_sequence", sequence=choice.stop_reason)
    return Stop(reason=reason)


def input_of(arguments: str) -> str:
    """Return the JSON object that a tool is called with; what is none is kept as a text in one.

    Clients read nothing else, and the model sees then what it had written.
    """
    bare = arguments.strip()
    if bare in ("", "null", '""'):
        return "{}"
    try:
        value = msgspec.json.decode(bare)
    except DECODE_ERRORS:
        value = None
    if isinstance(value, dict):
        return arguments
    if isinstance(value, str):
        return input_of(value)
    return msgspec.json.encode({"invalid_arguments": arguments}).decode()
