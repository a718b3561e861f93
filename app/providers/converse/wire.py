"""Answers of Bedrock's Converse, told in OpenAI's: blocks, why it ended, token counts, errors.

References
----------
AWS, "Converse" and "ConverseStream", docs.aws.amazon.com/bedrock/latest/APIReference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.ids import new_id
from app.providers.base import Chunk
from app.providers.http.errors import Headers
from app.providers.http.lenient import Mender
from app.providers.translation.answers import completion, envelope, openai_usage
from app.providers.translation.structs import read_struct
from app.usage import ToldUsage
from app.wire.usage_records import read_usage

_NULL = msgspec.Raw(b"null")

_FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""A reason in neither table is told as `stop`: the answer is complete, whatever ended it."""

_FAILURES = frozenset({"malformed_model_output", "malformed_tool_use"})
"""The model gave up: what came is no answer."""


class ToolUse(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A call of a tool; in a stream its input comes in pieces of text."""

    tool_use_id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NULL


class ReasoningText(msgspec.Struct, frozen=True, gc=False):
    """What the model thought, and the seal on it."""

    text: str | None = None
    signature: str | None = None


class Reasoning(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Thinking: whole in `reasoning_text`, in a stream in pieces beside it."""

    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None
    text: str | None = None
    signature: str | None = None


class _Citations(msgspec.Struct, frozen=True, gc=False):
    content: list[ReasoningText] | None = None


class Block(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One block of content, its beginning, or a piece of it."""

    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None
    citations_content: _Citations | None = None

    @property
    def said(self) -> str:
        """The text in it, with or without sources."""
        if self.citations_content is None:
            return self.text or ""
        return "".join(each.text or "" for each in self.citations_content.content or ())


class _Message(msgspec.Struct, frozen=True):
    content: list[Block] | None = None


class _Output(msgspec.Struct, frozen=True):
    message: _Message | None = None


class _PromptRouter(msgspec.Struct, frozen=True, rename="camel"):
    invoked_model_id: str | None = None


class _Trace(msgspec.Struct, frozen=True, rename="camel"):
    prompt_router: _PromptRouter | None = None


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A whole answer."""

    output: _Output | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = _NULL
    trace: _Trace | None = None


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """One event of a stream."""

    content_block_index: int = 0
    start: Block | None = None
    delta: Block | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = _NULL


_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_event(data: bytes, mender: Mender) -> Event:
    """Read an event; fields of another shape than AWS' count as not there.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is no JSON object by any reading.
    """
    what = "an event that is none of ConverseStream"
    return read_struct(data, Event, mender, decode=_decode_event, what=what)


def finish_reason(stop_reason: str) -> str:
    """Return OpenAI's reason.

    Raises
    ------
    UpstreamInvalidResponseError
        If the model gave up.
    """
    if stop_reason in _FAILURES:
        raise UpstreamInvalidResponseError(f"the upstream's model gave up ({stop_reason})")
    return _FINISH_REASONS.get(stop_reason, "stop")


def input_piece(tool_use: ToolUse) -> str:
    """Return a piece of a call's input; `{}` and the like for one that came whole."""
    if tool_use.input == _NULL:
        return ""
    try:
        return _decode_text(tool_use.input)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return bytes(tool_use.input).decode(errors="replace")


def usage_of(raw: msgspec.Raw) -> tuple[ToldUsage | None, dict[str, Any] | None]:
    """Return the token counts, and the same as OpenAI has them."""
    if raw == _NULL:
        return None, None
    usage = read_usage(bytes(raw))
    return usage, openai_usage(usage)


def answer_id(headers: Headers) -> str:
    """Return the name of an answer; it has none but that of its request."""
    named = (value for name, value in headers if name == b"x-upstream-request-id")
    return next((value.decode("latin-1") for value in named), None) or new_id("chatcmpl-")


def whole_answer(body: bytes, headers: Headers, *, model: str, one_call: bool = False) -> Chunk:
    """Translate a whole answer.

    Parameters
    ----------
    model
        That was asked for; the answer does not name it.
    one_call
        Whether the client takes one tool call at most.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is none, or the model gave up.
    """
    mender = Mender()
    what = "what is no answer of Converse"
    answer = read_struct(body, Answer, mender, decode=_decode_answer, what=what)
    message = None if answer.output is None else answer.output.message
    if message is None or message.content is None:
        raise UpstreamInvalidResponseError("the upstream's answer is a message without content")
    if answer.stop_reason is None:
        raise UpstreamInvalidResponseError("the upstream's answer is not over")
    reason = finish_reason(answer.stop_reason)
    told, n_chars = _to_message(message.content, one_call=one_call)
    usage, counts = usage_of(answer.usage)
    router = None if answer.trace is None else answer.trace.prompt_router
    named = (None if router is None else router.invoked_model_id) or model
    head = envelope(answer_id(headers), named, "chat.completion")
    return Chunk(
        data=mender.encode(completion(head, told, reason, counts)),
        usage=usage,
        content_events=1,
        content_chars=n_chars,
        response_model=named,
        finish_reason=reason,
        headers=tuple(headers),
    )


def _to_message(content: Sequence[Block], *, one_call: bool) -> tuple[dict[str, Any], int]:
    """Return OpenAI's message, and how many characters the model wrote in it."""
    text = "".join(block.said for block in content)
    thought = [block.reasoning_content for block in content if block.reasoning_content is not None]
    reasoning = "".join(
        each.reasoning_text.text or "" for each in thought if each.reasoning_text is not None
    )
    calls = [_tool_call(block.tool_use) for block in content if block.tool_use is not None]
    if one_call:
        del calls[1:]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": None,
    }
    if reasoning:
        message["reasoning_content"] = reasoning
    if thought:
        message["thinking_blocks"] = [_thinking_block(each) for each in thought]
    if calls:
        message["tool_calls"] = calls
    functions = [call["function"] for call in calls]
    n_chars = sum(len(each["name"]) + len(each["arguments"]) for each in functions)
    return message, len(text) + len(reasoning) + n_chars


def _tool_call(tool_use: ToolUse) -> dict[str, Any]:
    function = {"name": tool_use.name or "", "arguments": input_piece(tool_use) or "{}"}
    return {"id": tool_use.tool_use_id or new_id("call_"), "type": "function", "function": function}


def _thinking_block(reasoning: Reasoning) -> dict[str, str]:
    told = reasoning.reasoning_text
    if told is None:
        return redacted_block(reasoning.redacted_content or "")
    return thinking_block(told.text or "", told.signature or "")


def thinking_block(thinking: str, signature: str) -> dict[str, str]:
    """Return a block of thinking as it must come back, in Anthropic's words."""
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def redacted_block(data: str) -> dict[str, str]:
    """Return a block of thinking that cannot be read."""
    return {"type": "redacted_thinking", "data": data}
