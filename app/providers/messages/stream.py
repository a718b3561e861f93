"""The reads of one streamed message, turned into chunks of OpenAI's dialect."""

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.http.error_body import ErrorDetail, error_detail
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.sse import MAX_EVENT_BYTES
from app.providers.messages.wire import (
    FINISH_REASONS,
    Block,
    Delta,
    Event,
    Message,
    UsageSoFar,
    is_thinking,
    read_event,
    thinking_block,
)
from app.providers.translation.answers import ChatEvents
from app.providers.translation.stream import TranslatedStream
from app.usage import ToldUsage

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


class MessageStream(TranslatedStream):
    """Parse what an upstream sends and say it in OpenAI's events.

    After each `feed`, `done` says whether the message has ended and `error` whether the stream
    failed; what came before the failure is in the chunk that was returned.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    max_event_bytes
        The size at which an event is refused.
    """

    last_words = b"message_stop"

    def __init__(self, headers: Headers = (), *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(ChatEvents(headers), max_event_bytes=max_event_bytes)
        self._usage = UsageSoFar()
        self._told: ToldUsage | None = None
        self._open: dict[int, _OpenBlock] = {}
        self._n_calls = 0
        self._gave_reason = False

    def _take(self, data: bytes) -> None:
        event = read_event(data, self._events.mender)
        match event.type:
            case "error":
                self.error = error_from_event(error_detail(data) or ErrorDetail())
            case "message_start":
                self._start(event.message or Message())
            case "content_block_start" if event.content_block is not None:
                self._start_block(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None:
                self._take_delta(event.index, event.delta)
            case "content_block_stop":
                self._stop_block(event.index)
            case "message_delta":
                self._take_message_delta(event)
            case "message_stop":
                if self._events.said and not self._gave_reason:
                    reason = "tool_calls" if self._n_calls else "stop"
                    self._events.say({}, finish_reason=reason)
                self._events.end(self._told, self._usage.told(self._told))
                self.done = True
            case "" if (detail := error_detail(data)) is not None:
                self.error = error_from_event(detail)
            case _:
                pass  # a ping, or an event of the future: the API announces that there may be new

    def _start(self, message: Message) -> None:
        self._events.begin(message.id, message.model)
        self._told = self._usage.add(message.usage, beginning=True)
        self._events.tell_usage(self._told)

    def _start_block(self, index: int, block: Block) -> None:
        self._open[index] = opened = _OpenBlock(block, self._n_calls)
        if block.type == "text" and block.text:
            self._events.say_text(block.text)
        elif block.type == "thinking" and block.thinking:
            self._events.say_reasoning(block.thinking)
        elif block.type == "tool_use":
            self._n_calls += 1
            function = {"name": block.name or "", "arguments": ""}
            call = {"id": block.id or "", "type": "function", "function": function}
            self._events.say_call(opened.call_index, call, n_chars=len(block.name or ""))

    def _take_delta(self, index: int, delta: Delta) -> None:
        opened = self._open.get(index)
        if opened is None:
            kind = _BEGUN_BY.get(delta.type)
            if kind is None:
                raise UpstreamInvalidResponseError(
                    "the upstream continued a block of content that it had not begun"
                )
            opened = self._open[index] = _OpenBlock(Block(type=kind), self._n_calls)
        if delta.type == "text_delta" and delta.text:
            self._events.say_text(delta.text)
        elif delta.type == "thinking_delta" and delta.thinking:
            opened.thinking.append(delta.thinking)
            self._events.say_reasoning(delta.thinking)
        elif delta.type == "signature_delta":
            opened.signature += delta.signature or ""
        elif delta.type == "input_json_delta" and opened.block.type == "tool_use":
            self._say_arguments(opened, delta.partial_json or "")

    def _stop_block(self, index: int) -> None:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        block = opened.block
        if block.type == "tool_use" and not opened.has_input:
            # A tool without parameters gets no input at all, and "" is no JSON.
            self._say_arguments(opened, block.arguments)
        elif is_thinking(block):
            whole = msgspec.structs.replace(
                block, thinking="".join(opened.thinking), signature=opened.signature
            )
            self._events.say({"thinking_blocks": [thinking_block(whole)]})

    def _take_message_delta(self, event: Event) -> None:
        self._told = self._usage.add(event.usage)
        self._events.tell_usage(self._told)
        if event.delta is None or event.delta.stop_reason is None:
            return
        reason = FINISH_REASONS.get(event.delta.stop_reason, "stop")
        details = event.delta.stop_details
        refusal = details.explanation if details else None
        self._gave_reason = True
        self._events.say({"refusal": refusal} if refusal else {}, finish_reason=reason)

    def _say_arguments(self, opened: _OpenBlock, arguments: str) -> None:
        if arguments:
            opened.has_input = True
            call = {"function": {"arguments": arguments}}
            self._events.say_call(opened.call_index, call, n_chars=len(arguments))
