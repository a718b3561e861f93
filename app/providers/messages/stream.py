"""The reads of one streamed message, turned into chunks of OpenAI's dialect."""

from typing import Any

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.http.error_body import ErrorDetail, error_detail
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.lenient import Mender
from app.providers.http.sse import Comment, SseParser
from app.providers.messages.wire import (
    FINISH_REASONS,
    Block,
    Delta,
    Event,
    Message,
    UsageSoFar,
    envelope,
    is_thinking,
    read_event,
    thinking_block,
)
from app.types import ToldUsage

_BEGUN_BY = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
"""The kinds of blocks whose beginning says nothing, which some servers leave out."""


class _OpenBlock:
    """A block of content that has begun and not ended."""

    __slots__ = ("block", "call_index", "has_input", "signature", "thinking")

    def __init__(self, block: Block, call_index: int) -> None:
        self.block = block
        self.call_index = call_index
        self.has_input = False
        self.thinking = [block.thinking or ""]
        self.signature = block.signature or ""


class MessageStream:
    """Parse what an upstream sends and say it in OpenAI's events.

    After each `feed`, `done` says whether the message has ended and `error` whether the stream
    failed; what came before the failure is in the chunk that was returned.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    """

    def __init__(self, headers: Headers = ()) -> None:
        self.done = False
        self.error: UpstreamError | None = None
        self._parser = SseParser()
        self._headers = tuple(headers)
        self._envelope: dict[str, Any] | None = None
        self._usage = UsageSoFar()
        self._told: ToldUsage | None = None
        self._mender = Mender()
        self._said = False
        self._open: dict[int, _OpenBlock] = {}
        self._n_calls = 0

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing for a client."""
        found = _Found()
        try:
            for event in self._parser.feed(data):
                if type(event) is Comment:
                    found.data.append(event + b"\n\n")
                elif event:
                    self._take(event, found)
                if self.done or self.error is not None:
                    break
        except UpstreamInvalidResponseError as error:
            self.error = error
        if not found.data and found.usage_event is None and found.usage is None:
            return None
        headers, self._headers = self._headers, ()
        return Chunk(
            data=b"".join(found.data),
            has_content=found.has_content,
            usage=found.usage,
            usage_event=found.usage_event,
            content_events=found.content_events,
            content_chars=found.content_chars,
            response_model=found.model,
            finish_reason=found.finish_reason,
            template=found.template,
            headers=headers,
        )

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""
        return self._parser.pending_bytes

    def close(self) -> None:
        """Take the end of the connection: fine only after `message_stop`."""
        self._parser.close()

    def _take(self, data: bytes, found: "_Found") -> None:
        event = read_event(data, self._mender)
        match event.type:
            case "error":
                self.error = error_from_event(error_detail(data) or ErrorDetail())
            case "message_start":
                self._start(event.message or Message(), found)
            case "content_block_start" if event.content_block is not None:
                self._start_block(event.index, event.content_block, found)
            case "content_block_delta" if event.delta is not None:
                self._take_delta(event.index, event.delta, found)
            case "content_block_stop":
                self._stop_block(event.index, found)
            case "message_delta":
                self._take_message_delta(event, found)
            case "message_stop":
                self._stop(found)
            case "" if (detail := error_detail(data)) is not None:
                self.error = error_from_event(detail)
            case _:
                pass  # a ping, or an event of the future: the API announces that there may be new

    def _start(self, message: Message, found: "_Found") -> None:
        self._envelope = envelope(message, "chat.completion.chunk")
        self._told = found.usage = self._usage.add(message.usage, beginning=True)
        found.model = message.model
        self._say({"role": "assistant", "content": ""}, found)

    def _start_block(self, index: int, block: Block, found: "_Found") -> None:
        self._open[index] = opened = _OpenBlock(block, self._n_calls)
        if block.type == "text" and block.text:
            self._say({"content": block.text}, found, n_chars=len(block.text))
        elif block.type == "thinking" and block.thinking:
            self._say({"reasoning_content": block.thinking}, found, n_chars=len(block.thinking))
        elif block.type == "tool_use":
            self._n_calls += 1
            function = {"name": block.name or "", "arguments": ""}
            call = {"id": block.id or "", "type": "function", "function": function}
            self._say_call(opened, call, found, n_chars=len(block.name or ""))

    def _take_delta(self, index: int, delta: Delta, found: "_Found") -> None:
        opened = self._open.get(index)
        if opened is None:
            kind = _BEGUN_BY.get(delta.type)
            if kind is None:
                raise UpstreamInvalidResponseError(
                    "the upstream continued a block of content that it had not begun"
                )
            opened = self._open[index] = _OpenBlock(Block(type=kind), self._n_calls)
        if delta.type == "text_delta" and delta.text:
            self._say({"content": delta.text}, found, n_chars=len(delta.text))
        elif delta.type == "thinking_delta" and delta.thinking:
            opened.thinking.append(delta.thinking)
            self._say({"reasoning_content": delta.thinking}, found, n_chars=len(delta.thinking))
        elif delta.type == "signature_delta":
            opened.signature += delta.signature or ""
        elif delta.type == "input_json_delta" and opened.block.type == "tool_use":
            self._say_arguments(opened, delta.partial_json or "", found)

    def _stop_block(self, index: int, found: "_Found") -> None:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        block = opened.block
        if block.type == "tool_use" and not opened.has_input:
            # A tool without parameters gets no input at all, and "" is no JSON.
            self._say_arguments(opened, block.arguments, found)
        elif is_thinking(block):
            whole = msgspec.structs.replace(
                block, thinking="".join(opened.thinking), signature=opened.signature
            )
            self._say({"thinking_blocks": [thinking_block(whole)]}, found)

    def _take_message_delta(self, event: Event, found: "_Found") -> None:
        self._told = found.usage = self._usage.add(event.usage)
        if event.delta is None or event.delta.stop_reason is None:
            return
        reason = FINISH_REASONS.get(event.delta.stop_reason, "stop")
        details = event.delta.stop_details
        refusal = details.explanation if details else None
        found.finish_reason = reason
        self._say({"refusal": refusal} if refusal else {}, found, finish_reason=reason)

    def _stop(self, found: "_Found") -> None:
        self._started()
        if not self._said:
            raise UpstreamInvalidResponseError("the upstream's answer is empty")
        self.done = True
        counts = self._usage.told(self._told)
        if counts is not None:
            found.usage = self._told
            told = {**self._started(), "choices": [], "usage": counts}
            found.usage_event = self._mender.encode(told)

    def _say_arguments(self, opened: _OpenBlock, arguments: str, found: "_Found") -> None:
        if arguments:
            opened.has_input = True
            call = {"function": {"arguments": arguments}}
            self._say_call(opened, call, found, n_chars=len(arguments))

    def _say_call(
        self, opened: _OpenBlock, call: dict[str, Any], found: "_Found", *, n_chars: int
    ) -> None:
        delta = {"tool_calls": [{"index": opened.call_index, **call}]}
        self._say(delta, found, n_chars=n_chars)

    def _say(
        self,
        delta: dict[str, Any],
        found: "_Found",
        *,
        n_chars: int = 0,
        finish_reason: str | None = None,
    ) -> None:
        """Write one event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        payload = self._mender.encode({**self._started(), "choices": [choice]})
        found.data.append(b"data: %b\n\n" % payload)
        found.template = payload
        found.content_events += n_chars > 0
        found.content_chars += n_chars
        if "role" not in delta:
            found.has_content = self._said = True

    def _started(self) -> dict[str, Any]:
        if self._envelope is None:
            raise UpstreamInvalidResponseError("the upstream's stream has no beginning")
        return self._envelope


class _Found:
    """What the events of one read said, so far."""

    __slots__ = (
        "content_chars",
        "content_events",
        "data",
        "finish_reason",
        "has_content",
        "model",
        "template",
        "usage",
        "usage_event",
    )

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.has_content = False
        self.content_events = 0
        self.content_chars = 0
        self.usage: ToldUsage | None = None
        self.usage_event: bytes | None = None
        self.template: bytes | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
