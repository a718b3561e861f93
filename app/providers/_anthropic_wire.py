"""Anthropic's answers, told in OpenAI's: messages, usage, errors."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers._base import Chunk
from app.providers._error_body import ErrorDetail, error_detail
from app.providers._http import Headers
from app.types import ToldUsage, Usage

_NULL = msgspec.Raw(b"null")
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encode = msgspec.json.Encoder().encode

FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""A reason that is not in it is told as `stop`: the answer is complete, whatever ended it."""


class Block(msgspec.Struct, frozen=True, gc=False):
    """One block of content, or the beginning of one."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = _NULL

    @property
    def arguments(self) -> str:
        """The input of a tool as OpenAI has it: JSON in a string."""
        try:
            return "{}" if self.input == _NULL else bytes(self.input).decode()
        except UnicodeDecodeError as error:
            raise UpstreamInvalidResponseError(
                "the upstream's tool call is not valid UTF-8"
            ) from error


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True, gc=False):
    """Token counts; those of a later event are cumulative and replace the earlier ones."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None

    def updated(self, later: "WireUsage") -> "WireUsage":
        """Return these counts, replaced by those that a later event tells."""
        told = {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(later, name)) is not None
        }
        return msgspec.structs.replace(self, **told)


class StopDetails(msgspec.Struct, frozen=True, gc=False):
    """Why the model refused."""

    explanation: str | None = None


class Message(msgspec.Struct, frozen=True):
    """A whole answer, or what a stream opens with."""

    id: str = ""
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | None = None


_decode_message = msgspec.json.Decoder(Message).decode


def whole_answer(body: bytes, headers: Headers) -> Chunk:
    """Translate a whole answer.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is no message.
    """
    try:
        message = _decode_message(body)
    except _DECODE_ERRORS as error:
        raise UpstreamInvalidResponseError("the upstream's answer is no message") from error
    if message.content is None:
        raise UpstreamInvalidResponseError("the upstream's answer is a message without content")
    finish_reason = FINISH_REASONS.get(message.stop_reason or "", "stop")
    usage = to_usage(message.usage or WireUsage())
    told, n_chars = _to_message(message, message.content)
    answer = {
        **envelope(message, "chat.completion"),
        "choices": [
            {"index": 0, "message": told, "logprobs": None, "finish_reason": finish_reason}
        ],
    }
    if usage is not None:
        answer["usage"] = usage_object(usage, message.usage or WireUsage())
    return Chunk(
        data=_encode(answer),
        usage=None if usage is None else ToldUsage.of(usage),
        content_events=1,
        content_chars=n_chars,
        response_model=message.model,
        finish_reason=finish_reason,
        headers=tuple(headers),
    )


def _to_message(message: Message, content: Sequence[Block]) -> tuple[dict[str, Any], int]:
    """Return OpenAI's message, and how many characters the model wrote in it."""
    text = "".join(block.text for block in content if block.type == "text")
    thinking = [block for block in content if is_thinking(block)]
    calls = [tool_call(block) for block in content if block.type == "tool_use"]
    told: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": message.stop_details.explanation if message.stop_details else None,
    }
    reasoning = "".join(block.thinking for block in thinking)
    if reasoning:
        told["reasoning_content"] = reasoning
    if thinking:
        told["thinking_blocks"] = [thinking_block(block) for block in thinking]
    if calls:
        told["tool_calls"] = calls
    functions = [call["function"] for call in calls]
    n_chars = sum(len(each["name"]) + len(each["arguments"]) for each in functions)
    return told, len(text) + len(reasoning) + n_chars


def is_thinking(block: Block) -> bool:
    """Whether a block must come back, unchanged, with the next request of a tool loop."""
    return block.type in ("thinking", "redacted_thinking")


def thinking_block(block: Block) -> dict[str, str]:
    """Return a block of thinking as it must come back."""
    if block.type == "redacted_thinking":
        return {"type": block.type, "data": block.data}
    return {"type": block.type, "thinking": block.thinking, "signature": block.signature}


def tool_call(block: Block) -> dict[str, Any]:
    """Return a tool call as OpenAI has it."""
    function = {"name": block.name, "arguments": block.arguments}
    return {"id": block.id, "type": "function", "function": function}


def envelope(message: Message, kind: str) -> dict[str, Any]:
    """Return what every body and event begins with."""
    return {
        "id": message.id,
        "object": kind,
        "created": int(time.time()),
        "model": message.model,
    }


def to_usage(wire: WireUsage) -> Usage | None:
    """Count the tokens; None where the upstream tells too little, or what cannot be.

    Tokens written to the prompt cache count as plain input: `Usage` knows no class of them.
    """
    if wire.input_tokens is None or wire.output_tokens is None:
        return None
    read = wire.cache_read_input_tokens or 0
    written = wire.cache_creation_input_tokens or 0
    details = wire.output_tokens_details
    thinking = (details.thinking_tokens or 0) if details else 0
    if min(wire.input_tokens, read, written, thinking) < 0 or thinking > wire.output_tokens:
        return None
    return Usage(
        input_tokens=wire.input_tokens + read + written,
        output_tokens=wire.output_tokens,
        cached_input_tokens=read,
        reasoning_tokens=thinking,
    )


def usage_object(usage: Usage, wire: WireUsage) -> dict[str, Any]:
    """Return OpenAI's `usage`; its prompt tokens include those of the cache."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_creation_tokens": wire.cache_creation_input_tokens or 0,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def openai_error_body(body: bytes) -> bytes:
    """Tell an error body in OpenAI's shape; what is none stays as it is."""
    detail = error_detail(body)
    if detail is None:
        return body
    return _encode(
        {
            "error": {
                "message": detail.message,
                "type": detail.type or None,
                "param": None,
                "code": _code(detail),
            }
        }
    )


def _code(detail: ErrorDetail) -> str | None:
    if detail.too_long:
        return "context_length_exceeded"
    return None if detail.type == "invalid_request_error" else detail.type or None
