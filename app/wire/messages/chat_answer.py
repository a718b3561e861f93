"""Answers of chat completions, read as far as another dialect has to tell them."""

from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.wire.messages.shapes import DECODE_ERRORS, NULL

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""A reason that is not in it is told as `end_turn`: the answer is complete, whatever ended it."""


class Function(msgspec.Struct, gc=False):
    """What is called, and with what; servers of no strict mind send an object as arguments."""

    name: str | None = None
    arguments: Any = None

    @property
    def written(self) -> str:
        """The arguments as JSON in a string, or a piece of it."""
        if self.arguments is None or isinstance(self.arguments, str):
            return self.arguments or ""
        return msgspec.json.encode(self.arguments).decode()


class Call(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """A message, or what an event adds to it."""

    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    thinking_blocks: list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The content, whose texts some servers send as a list of parts."""
        if isinstance(self.content, str):
            return self.content
        if not isinstance(self.content, list):
            return ""
        texts = (part.get("text") for part in self.content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))

    @property
    def thought(self) -> tuple[str, str]:
        """The field that reasoning stands in, and the text."""
        if self.reasoning_content:
            return "reasoning_content", self.reasoning_content
        return "reasoning", self.reasoning or ""

    @property
    def calls(self) -> list[Call]:
        """The calls, one in the older field among them."""
        calls = self.tool_calls or []
        if self.function_call is not None and not calls:
            calls = [Call(index=0, function=self.function_call)]
        return calls


class Choice(msgspec.Struct):
    """One answer of a completion, or a piece of one."""

    index: int | None = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    """Of vLLM: the sequence that the answer stopped at."""


class Completion(msgspec.Struct):
    """A whole completion, or one event of a stream."""

    model: str | None = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = NULL
    error: Any = None

    @property
    def first(self) -> Choice | None:
        """The choice that is told: of several, Anthropic's API knows one."""
        return next((each for each in self.choices or () if not each.index), None)


_decode = msgspec.json.Decoder(Completion).decode


def read_completion(data: bytes) -> Completion:
    """Read a completion, or an event of one.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is neither.
    """
    try:
        return _decode(data)
    except msgspec.ValidationError:
        pass  # a number in a string, or the like
    except DECODE_ERRORS as error:
        raise UpstreamInvalidResponseError("the upstream's answer cannot be read") from error
    try:
        return msgspec.convert(msgspec.json.decode(data), Completion, strict=False)
    except (msgspec.ValidationError, *DECODE_ERRORS) as error:
        raise UpstreamInvalidResponseError(
            f"the upstream's answer is none of chat completions: {error}"
        ) from error


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
