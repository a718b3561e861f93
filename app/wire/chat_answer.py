"""Answers of chat completions, read as far as another dialect has to tell them.

Servers of no strict mind are understood as well: what stands where nobody expects it does not cost
the rest of an answer.
"""

import json
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.wire.decoding import DECODE_ERRORS

NULL = msgspec.Raw(b"null")
_LAST_DAY_UNIX_S = 253_402_300_799
"""The end of the year 9999."""


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
    reasoning_details: list[Any] | None = None

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
    logprobs: msgspec.Raw = NULL

    @property
    def said(self) -> Said | None:
        """What was said; some servers stream messages as well."""
        return self.delta or self.message


class Completion(msgspec.Struct):
    """A whole completion, or one event of a stream."""

    id: str | None = None
    model: str | None = None
    created: Any = None
    system_fingerprint: msgspec.Raw = NULL
    service_tier: msgspec.Raw = NULL
    choices: list[Choice] | None = None
    usage: msgspec.Raw = NULL

    @property
    def first(self) -> Choice | None:
        """The choice that is told where a dialect knows one alone."""
        choices = self.choices
        if not choices:
            return None
        if not choices[0].index:
            return choices[0]
        return next((each for each in choices if not each.index), None)

    @property
    def created_unix_s(self) -> int | None:
        """When it was made, if a time says so."""
        created = self.created
        told = type(created) in (int, float) and 0 < created <= _LAST_DAY_UNIX_S
        return int(created) if told else None


_decode = msgspec.json.Decoder(Completion).decode


def token_logprobs(logprobs: msgspec.Raw) -> list[Any]:
    """Return the log-probabilities of a choice's tokens; none where they are no list."""
    if logprobs is NULL or logprobs == NULL:
        return []
    told = msgspec.json.decode(logprobs)
    content = told.get("content") if isinstance(told, dict) else None
    return content if isinstance(content, list) else []


def read_completion(data: bytes) -> Completion:
    """Read a completion, or an event of one.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is no JSON object.
    """
    try:
        return _decode(data)
    except msgspec.ValidationError:
        pass  # a number for a text, or the like
    except DECODE_ERRORS as error:
        raise UpstreamInvalidResponseError("the upstream's answer cannot be read") from error
    try:
        return _decode(msgspec.json.encode(_completion(json.loads(data))))
    except (ValueError, OverflowError, RecursionError) as error:
        raise UpstreamInvalidResponseError(
            f"the upstream's answer is none of chat completions: {error}"
        ) from error


# --- answers that are not quite of the shape ----------------------------------------------------


def _completion(value: Any) -> dict[str, Any]:
    """Return what can be told of an answer, in the shape that it should have."""
    if not isinstance(value, dict):
        raise UpstreamInvalidResponseError("the upstream's answer is no object")
    told = {**value, "id": _text(value.get("id")), "model": _text(value.get("model"))}
    told["choices"] = [_choice(each) for each in _objects(value.get("choices"))]
    return told


def _choice(value: dict[str, Any]) -> dict[str, Any]:
    told = {**value, "index": _index(value.get("index")) or 0}
    reason = value.get("finish_reason")
    # Whatever it says, it says that the answer has ended.
    told["finish_reason"] = reason if reason is None or isinstance(reason, str) else "stop"
    for name in ("message", "delta"):
        said = value.get(name)
        told[name] = _said(said) if isinstance(said, dict) else None
    return told


def _said(value: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"content": value.get("content")}
    for name in ("reasoning_content", "reasoning", "refusal"):
        told[name] = value[name] if isinstance(value.get(name), str) else None
    told["tool_calls"] = [
        {
            "index": _index(each.get("index")),
            "id": _text(each.get("id")),
            "function": _function(each.get("function")),
        }
        for each in _objects(value.get("tool_calls"))
    ]
    told["function_call"] = _function(value.get("function_call"))
    told["thinking_blocks"] = _objects(value.get("thinking_blocks"))
    told["reasoning_details"] = _objects(value.get("reasoning_details"))
    return told


def _function(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    return {"name": _text(value.get("name")), "arguments": value.get("arguments")}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else None


def _index(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 9 else None
