"""Events of a streamed chat completion as those of a streamed message.

Anthropic's blocks come strictly one after the other. Chat servers may mix: a second call begins
before the first is complete, or a text in between. What comes too early is held back.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.base import TextPiece
from app.usage import Usage
from app.wire.chat_answer import Call, Choice, Said, read_completion
from app.wire.decoding import DECODE_ERRORS
from app.wire.messages.answer import Told, made_up_id
from app.wire.messages.counts import messages_usage
from app.wire.messages.names import ToolNames, id_for_client
from app.wire.messages.seal import seal_of
from app.wire.messages.shapes import THINKING_TYPES
from app.wire.messages.stops import input_of, stop_of
from app.wire.sse import add_fields

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_encode = msgspec.json.Encoder().encode


def event(kind: str, **fields: Any) -> bytes:
    """Frame one event: its name stands in a line of its own, and in the data again."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


def error_event(error: Mapping[str, Any], request_id: str) -> bytes:
    """Frame the event that ends a stream that failed."""
    return event("error", error=error, request_id=request_id)


def raw_error_event(data: bytes) -> bytes:
    """Frame the data of an upstream's event that ended its stream."""
    lines = b"".join(b"data: %b\n" % line for line in data.split(b"\n"))
    return b"event: error\n%b\n" % lines


def add_to_first_event(events: bytes, fields: Mapping[str, Any]) -> bytes:
    """Add fields to the data of the first event among `events`."""
    start = events.find(b"\ndata: {") + len(b"\ndata: ")
    end = events.find(b"\n", start)
    if start < len(b"\ndata: ") or end < 0:
        return events
    return events[:start] + add_fields(events[start:end], fields) + events[end:]


class _Part(Protocol):
    """One block, as far as it has come."""

    begun: bool

    def ready(self, *, closing: bool) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """Return how the block begins, if it begins now, and the deltas that can be told."""

    def is_whole(self) -> bool:
        """Whether nothing more of it can come once something else has begun."""


class _Text:
    """Text; white space alone, which the API does not take back, is none."""

    def __init__(self) -> None:
        self.begun = False
        self.held: list[str] = []

    def ready(self, *, closing: bool) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:  # noqa: ARG002
        text = "".join(self.held)
        start = None
        if not self.begun:
            if not text or text.isspace():
                return None, []
            self.begun, start = True, {"type": "text", "text": ""}
        self.held.clear()
        return start, [{"type": "text_delta", "text": text}] if text else []

    def is_whole(self) -> bool:
        return True


class _Thinking:
    """Thinking, and at its end what seals it."""

    def __init__(self, field: str) -> None:
        self.begun = False
        self.held: list[str] = []
        self.signature: str | None = None
        self._field = field

    def ready(self, *, closing: bool) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        text = "".join(self.held)
        start = None
        if not self.begun:
            if (not text or text.isspace()) and not (closing and self.signature):
                return None, []
            self.begun = True
            start = {"type": "thinking", "thinking": "", "signature": ""}
        self.held.clear()
        deltas = [{"type": "thinking_delta", "thinking": text}] if text else []
        if closing:
            signature = self.signature or seal_of(self._field)
            deltas.append({"type": "signature_delta", "signature": signature})
        return start, deltas

    def is_whole(self) -> bool:
        return True


class _Redacted:
    """Thinking that nobody may read."""

    def __init__(self, block: dict[str, Any]) -> None:
        self.begun = False
        self._block = block

    def ready(self, *, closing: bool) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:  # noqa: ARG002
        start = None if self.begun else self._block
        self.begun = True
        return start, []

    def is_whole(self) -> bool:
        return True


class _ToolUse:
    """A tool call. Its input is told as it comes, once it is seen to be an object."""

    def __init__(self, made_up: str, names: ToolNames) -> None:
        self.begun = False
        self.closed = False
        self.id = ""
        self.name = ""
        self._made_up = made_up
        self._names = names
        self._pieces: list[str] = []
        self._n_told = 0
        self._is_object = False

    def add(self, call: Call) -> None:
        """Take a piece; its name and id are said once, some servers repeat them."""
        self.id = self.id or call.id or ""
        function = call.function
        if function is None:
            return
        self.name = self.name or function.name or ""
        piece = function.written
        if self.closed and piece.strip():
            raise UpstreamInvalidResponseError("the upstream went on with a call that was complete")
        if piece:
            self._pieces.append(piece)

    def ready(self, *, closing: bool) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        start = None
        self.closed = closing
        if not self.begun:
            if not self.name:
                if closing:
                    raise UpstreamInvalidResponseError("the upstream called a tool without a name")
                return None, []
            self.begun = True
            call_id = id_for_client(self.id) if self.id else self._made_up
            name = self._names.from_chat(self.name)
            start = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        if not self._is_object:
            written = "".join(self._pieces)
            self._is_object = written.lstrip()[:1] == "{"
            if not self._is_object:
                if not closing:
                    return start, []
                written = input_of(written)
                return start, [] if written == "{}" else [_json_delta(written)]
        news = "".join(self._pieces[self._n_told :])
        self._n_told = len(self._pieces)
        return start, [_json_delta(news)] if news else []

    def is_whole(self) -> bool:
        if not self._pieces or not self._pieces[-1].rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self._pieces))
        except DECODE_ERRORS:
            return False
        return True


def _json_delta(piece: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": piece}


class MessageEvents:
    """Writes a streamed answer in Anthropic's events.

    Parameters
    ----------
    told
        What of the request the answer is told by.
    input_tokens
        How many tokens the prompt has by our estimate. Clients plan by the number in the first
        event until the last one brings the true one, and take zero for none.
    """

    def __init__(self, told: Told, *, input_tokens: int) -> None:
        self._told = told
        self._input_tokens = max(input_tokens, 1)
        self._parts: list[_Part] = []
        self._calls: dict[int, _ToolUse] = {}
        """The newest of every index."""
        self._n_calls = 0
        self._index = 0
        self._refusal: list[str] = []
        self._end = Choice()

    def begin(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the event that opens the stream, and what its first whole events amount to.

        Raises
        ------
        UpstreamInvalidResponseError
            If they cannot be read.
        """
        model = next((m for m in map(_model_of, data.split(b"\n")) if m), "")
        return self._start(model), self.feed(data)

    def _start(self, model: str) -> bytes:
        return event(
            "message_start",
            message={
                "id": self._told.message_id,
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": self._input_tokens,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 1,
                },
            },
        )

    def feed(self, data: bytes) -> bytes:
        """Return what whole events of a chat stream amount to.

        Raises
        ------
        UpstreamInvalidResponseError
            If they cannot be read.
        """
        out: list[bytes] = []
        for line in filter(None, data.split(b"\n")):
            if line.startswith(b"data: "):
                choice = read_completion(line[6:]).first
                if choice is not None:
                    self._take(choice, out)
            elif line.startswith(b":"):
                out.append(PING)
        return b"".join(out)

    def say(self, pieces: Iterable[TextPiece]) -> bytes:
        """Return what events of a chat stream amount to that say nothing but these pieces."""
        out: list[bytes] = []
        if not self._told.silent:
            for piece in pieces:
                if piece.text:
                    self._write(piece.text)
                    self._tell(out)
        return b"".join(out)

    def end(self, usage: Usage | None, *, cost_usd: float | None) -> bytes:
        """Return what ends the stream: open blocks, why it ended, what it used."""
        out: list[bytes] = []
        while self._parts:
            self._tell_first(out, closing=True)
        stop = stop_of(
            self._end,
            has_calls=self._n_calls > 0,
            refusal="".join(self._refusal),
            stop_sequences=self._told.stop_sequences,
        ).fields
        if self._told.silent:
            stop = {"stop_reason": "max_tokens", "stop_sequence": None}
        counts = messages_usage(usage, cost_usd=cost_usd)
        out.append(event("message_delta", delta=stop, usage=counts))
        out.append(event("message_stop"))
        return b"".join(out)

    def _take(self, choice: Choice, out: list[bytes]) -> None:
        if choice.finish_reason is not None:
            self._end.finish_reason = choice.finish_reason
            self._end.stop_reason = choice.stop_reason
        said = choice.said
        if said is None or self._told.silent:
            return
        self._hear(said)
        self._tell(out)

    def _tell(self, out: list[bytes]) -> None:
        """Tell what can be told by now."""
        while self._parts:
            whole = len(self._parts) > 1 and self._parts[0].is_whole()
            self._tell_first(out, closing=whole)
            if not whole:
                break

    def _hear(self, said: Said) -> None:
        """Put what an event says behind what was said before."""
        field, thought = said.thought
        if thought:
            last = self._parts[-1] if self._parts else None
            if not isinstance(last, _Thinking) or last.signature:
                self._parts.append(last := _Thinking(field))
            last.held.append(thought)
        for block in said.thinking_blocks or ():
            self._seal(block)
        for text in (said.text, said.refusal):
            if text:
                self._write(text)
        if said.refusal:
            self._refusal.append(said.refusal)
        for i, call in enumerate(said.calls):
            self._call(i if call.index is None else call.index, call)

    def _write(self, text: str) -> None:
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, _Text):
            self._parts.append(last := _Text())
        last.held.append(text)

    def _seal(self, block: dict[str, Any]) -> None:
        """Take a block of thinking as its model gave it out; its text has come before in pieces."""
        if block.get("type") == "redacted_thinking":
            self._parts.append(_Redacted(block))
        elif block.get("type") in THINKING_TYPES:
            last = self._parts[-1] if self._parts else None
            if not isinstance(last, _Thinking) or last.signature:
                self._parts.append(last := _Thinking(""))
                last.held.append(str(block.get("thinking") or ""))
            last.signature = str(block.get("signature") or "")

    def _call(self, index: int, piece: Call) -> None:
        call = self._calls.get(index)
        # Servers that number every call zero tell them apart by their ids alone.
        if call is None or (piece.id and call.id and piece.id != call.id):
            made_up = made_up_id(self._told.message_id, self._n_calls)
            self._calls[index] = call = _ToolUse(made_up, self._told.names)
            self._parts.append(call)
            self._n_calls += 1
        call.add(piece)

    def _tell_first(self, out: list[bytes], *, closing: bool) -> None:
        """Tell what can be told of the block whose turn it is; `closing` ends it."""
        part = self._parts[0]
        start, deltas = part.ready(closing=closing)
        if start is not None:
            out.append(event("content_block_start", index=self._index, content_block=start))
        out += [event("content_block_delta", index=self._index, delta=each) for each in deltas]
        if closing:
            self._parts.pop(0)
            if part.begun:
                out.append(event("content_block_stop", index=self._index))
                self._index += 1


def _model_of(line: bytes) -> str | None:
    return read_completion(line[6:]).model if line.startswith(b"data: ") else None
