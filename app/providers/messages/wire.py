"""Anthropic's answers, told in OpenAI's: messages, usage."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.error_body import reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.lenient import Mender
from app.providers.translation.answers import completion, envelope, openai_usage
from app.providers.translation.structs import read_struct
from app.usage import ToldUsage
from app.wire.usage_records import read_usage

_NULL = msgspec.Raw(b"null")

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

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NULL

    @property
    def arguments(self) -> str:
        """The input of a tool as OpenAI has it: JSON in a string."""
        return "{}" if self.input == _NULL else bytes(self.input).decode(errors="replace")


class UsageSoFar:
    """The counts of a stream: cumulative, so that a later event replaces what it counts higher.

    Servers tell zeros and nulls in later events for what they told at the beginning.
    """

    __slots__ = ("_record",)

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}

    def add(self, raw: msgspec.Raw, *, beginning: bool = False) -> ToldUsage | None:
        """Take the record of one event; return all that was told by then, None if it is nothing.

        Parameters
        ----------
        beginning
            Of the answer: what is told there as its output is no count of it.
        """
        mender = Mender()
        try:
            later = mender.read_unmended(bytes(raw))
        except ValueError:
            later = None
        if isinstance(later, dict):
            if beginning:
                later.pop("output_tokens", None)
            _update(self._record, later)
        return read_usage(mender.encode(self._record)) if self._record else None

    def told(self, usage: ToldUsage | None) -> dict[str, Any] | None:
        """Return OpenAI's `usage`; None where the upstream tells too little of it."""
        return openai_usage(usage)


def _update(record: dict[str, Any], later: Mapping[str, Any]) -> None:
    for name, value in later.items():
        before = record.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            _update(before, value)
        elif not value and before is not None:
            continue
        elif isinstance(before, int) and isinstance(value, int):
            record[name] = max(before, value)
        else:
            record[name] = value


class StopDetails(msgspec.Struct, frozen=True, gc=False):
    """Why the model refused."""

    explanation: str | None = None


class Message(msgspec.Struct, frozen=True):
    """A whole answer, or what a stream opens with."""

    id: str | None = None
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What an event adds to a block, or to the message."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct, frozen=True):
    """One event of a stream."""

    type: str = ""
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: msgspec.Raw = _NULL


_decode_message = msgspec.json.Decoder(Message).decode
_decode_event = msgspec.json.Decoder(Event).decode


def read_event(data: bytes, mender: Mender) -> Event:
    """Read an event; fields of another shape than Anthropic's count as not there.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is no JSON object by any reading.
    """
    what = "an event that is none of a message stream"
    return read_struct(data, Event, mender, decode=_decode_event, what=what)


def read_message(body: bytes, mender: Mender) -> tuple[Message, Sequence[Block]]:
    """Read a whole answer, and its content; fields of another shape than Anthropic's do not count.

    Raises
    ------
    UpstreamError
        If it is no JSON object by any reading, has no content, or is an error.
    """
    what = "an answer that is no message"
    try:
        message = read_struct(body, Message, mender, decode=_decode_message, what=what)
    except UpstreamInvalidResponseError:
        _raise_reported(body)
        raise
    if message.content is None or message.error != _NULL:
        _raise_reported(body)
    if message.content is None:
        raise UpstreamInvalidResponseError("the upstream's answer is a message without content")
    return message, message.content


def _raise_reported(body: bytes) -> None:
    detail = reported_error(body)
    if detail is not None:
        raise error_from_event(detail)


def whole_answer(body: bytes, headers: Headers) -> Chunk:
    """Translate a whole answer.

    Raises
    ------
    UpstreamError
        If it is no message.
    """
    mender = Mender()
    message, content = read_message(body, mender)
    finish_reason = FINISH_REASONS.get(message.stop_reason or "", "stop")
    counts = UsageSoFar()
    usage = counts.add(message.usage)
    told, n_chars = _to_message(message, content)
    if n_chars == 0 and message.stop_reason is None:
        raise UpstreamInvalidResponseError("the upstream's answer is empty")
    head = envelope(message.id, message.model, "chat.completion")
    answer = completion(head, told, finish_reason, counts.told(usage))
    return Chunk(
        data=mender.encode(answer),
        usage=usage,
        content_events=1,
        content_chars=n_chars,
        response_model=message.model,
        finish_reason=finish_reason,
        headers=tuple(headers),
    )


def _to_message(message: Message, content: Sequence[Block]) -> tuple[dict[str, Any], int]:
    """Return OpenAI's message, and how many characters the model wrote in it."""
    text = "".join(block.text or "" for block in content if block.type == "text")
    thinking = [block for block in content if is_thinking(block)]
    calls = [tool_call(block) for block in content if block.type == "tool_use"]
    told: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": message.stop_details.explanation if message.stop_details else None,
    }
    reasoning = "".join(block.thinking or "" for block in thinking)
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
        return {"type": block.type, "data": block.data or ""}
    return {
        "type": block.type,
        "thinking": block.thinking or "",
        "signature": block.signature or "",
    }


def tool_call(block: Block) -> dict[str, Any]:
    """Return a tool call as OpenAI has it."""
    function = {"name": block.name or "", "arguments": block.arguments}
    return {"id": block.id or "", "type": "function", "function": function}
