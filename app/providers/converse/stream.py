"""The reads of one ConverseStream, turned into chunks of OpenAI's dialect."""

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.providers.converse.errors import with_type
from app.providers.converse.event_stream import (
    MAX_MESSAGE_BYTES,
    EventStreamParser,
    Message,
)
from app.providers.converse.wire import (
    Block,
    Event,
    Reasoning,
    answer_id,
    finish_reason,
    input_piece,
    read_event,
    redacted_block,
    thinking_block,
    usage_of,
)
from app.providers.http.error_body import ErrorDetail, error_detail
from app.providers.http.errors import Headers, error_from_event
from app.providers.translation.answers import ChatEvents


class _Open(msgspec.Struct):
    """A block that has begun and not ended: the call it is, or what was thought in it."""

    call_index: int | None = None
    has_input: bool = False
    thought: str = ""
    signature: str = ""
    redacted: str = ""


class ConverseStream:
    """Parse what an upstream sends and say it in OpenAI's events.

    After each `feed`, `done` says whether the answer is over and `error` whether the stream failed;
    what came before the failure is in the chunk that was returned. The event that tells the usage
    is the last one; where it does not come, the reason to end suffices.

    Parameters
    ----------
    headers
        Response headers for the first chunk.
    model
        That was asked for; the stream does not name it.
    max_event_bytes
        The size at which an event is refused.
    """

    def __init__(
        self,
        headers: Headers = (),
        *,
        model: str | None = None,
        max_event_bytes: int = MAX_MESSAGE_BYTES,
        one_call: bool = False,
    ) -> None:
        self.done = False
        self.error: UpstreamError | None = None
        self._parser = EventStreamParser(max_message_bytes=max_event_bytes)
        self._events = ChatEvents(headers, one_call=one_call)
        self._answer_id = answer_id(headers)
        self._model = model
        self._open: dict[int, _Open] = {}
        self._n_calls = 0
        self._ended = False

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""
        return self._parser.pending_bytes

    def feed(self, data: bytes) -> Chunk | None:
        """Return what one read brought; None when that was nothing for a client."""
        try:
            for message in self._parser.feed(data):
                self._take(message)
                if self.done or self.error is not None:
                    break
        except UpstreamInvalidResponseError as error:
            self.error = error
        return self._events.take()

    def close(self) -> None:
        """Take the end of the connection: fine after a reason to end, at the end of an event."""
        self.done = self.done or (
            self._ended and self.error is None and not self._parser.pending_bytes
        )

    def _take(self, message: Message) -> None:
        kind = message.headers.get(":message-type", "event")
        if kind != "event":
            self._fail(message)
            return
        event = read_event(message.payload, self._events.mender)
        if not self._events.begun:
            self._events.begin(self._answer_id, self._model)
        match message.headers.get(":event-type"):
            case "contentBlockStart" if event.start is not None:
                self._start(event.content_block_index, event.start)
            case "contentBlockDelta" if event.delta is not None:
                self._add(event.content_block_index, event.delta)
            case "contentBlockStop":
                self._stop(event.content_block_index)
            case "messageStop":
                self._events.say({}, finish_reason=finish_reason(event.stop_reason or ""))
                self._ended = True
            case "metadata":
                self._tell_usage(event)
            case _:
                pass  # the role, or an event of the future

    def _start(self, index: int, block: Block) -> None:
        self._open[index] = opened = _Open()
        if block.tool_use is None:
            return
        opened.call_index = self._n_calls
        self._n_calls += 1
        name = block.tool_use.name or ""
        call_id = block.tool_use.tool_use_id or f"call_{opened.call_index}"
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        self._events.say_call(opened.call_index, call, n_chars=len(name))

    def _add(self, index: int, delta: Block) -> None:
        opened = self._open.setdefault(index, _Open())  # only tools announce themselves
        if delta.said:
            self._events.say_text(delta.said)
        if delta.reasoning_content is not None:
            self._add_reasoning(opened, delta.reasoning_content)
        if delta.tool_use is not None:
            if opened.call_index is None:
                raise UpstreamInvalidResponseError(
                    "the upstream continued a tool call that it had not begun"
                )
            self._say_input(opened, input_piece(delta.tool_use))

    def _add_reasoning(self, opened: _Open, piece: Reasoning) -> None:
        opened.signature += piece.signature or ""
        opened.redacted += piece.redacted_content or ""
        if piece.text:
            opened.thought += piece.text
            self._events.say_reasoning(piece.text)

    def _say_input(self, opened: _Open, piece: str) -> None:
        if piece and opened.call_index is not None:
            opened.has_input = True
            call = {"function": {"arguments": piece}}
            self._events.say_call(opened.call_index, call, n_chars=len(piece))

    def _stop(self, index: int) -> None:
        opened = self._open.pop(index, _Open())
        if opened.call_index is not None and not opened.has_input:
            # A tool without parameters gets no input at all, and "" is no JSON.
            self._say_input(opened, "{}")
        if opened.thought or opened.signature:
            block = thinking_block(opened.thought, opened.signature)
            self._events.say({"thinking_blocks": [block]})
        if opened.redacted:
            self._events.say({"thinking_blocks": [redacted_block(opened.redacted)]})

    def _tell_usage(self, event: Event) -> None:
        usage, counts = usage_of(event.usage)
        self._events.tell_usage(usage)
        if self._ended:
            self._events.end(usage, counts)
            self.done = True

    def _fail(self, message: Message) -> None:
        kind = message.headers.get(":exception-type") or message.headers.get(":error-code", "")
        body = message.payload or message.headers.get(":error-message", "").encode()
        detail = error_detail(with_type(body, kind)) or ErrorDetail(type=kind)
        self.error = error_from_event(detail, began=self._events.said)
