"""The events of a chat completion's stream as those of a Response.

Items come one after the other, but for calls: their pieces may be mixed, so a call ends with the
stream. The text of a custom tool lies within JSON, and is told once it is whole.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.base import TextPiece
from app.wire.chat_answer import Call, Completion, Said, read_completion, token_logprobs
from app.wire.responses.answer import (
    Ids,
    call_item,
    custom_input,
    message_item,
    reasoning_item,
    refusal_part,
    response_object,
    status_of,
    text_part,
)
from app.wire.responses.open_items import CallItem, MessageItem, OpenItem, ReasoningItem
from app.wire.responses.sealed import seal
from app.wire.tool_names import ToolKind, ToolNames

_encode = msgspec.json.Encoder().encode


class ResponseStream:
    """Writes the stream of one Response.

    Parameters
    ----------
    echo
        What the Response repeats of its request.
    now
        Unix time in seconds, told where the upstream tells none.
    extras
        Fields to add to the Response in its first event.

    Attributes
    ----------
    began
        Whether its first events are told.
    """

    def __init__(
        self,
        ids: Ids,
        echo: Mapping[str, Any],
        names: ToolNames,
        *,
        now: int,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self._ids = ids
        self._echo = echo
        self._names = names
        self._now = now
        self._extras = extras
        self._created_at = now
        self._model = ""
        self._n_events = 0
        self.began = False
        self._untold: list[bytes] = []
        """Events that are numbered and have not left yet."""
        self._finish_reason: str | None = None
        self._output: dict[int, dict[str, Any]] = {}
        self._reasoning: ReasoningItem | None = None
        self._message: MessageItem | None = None
        self._calls: list[CallItem] = []
        self._newest: dict[int, CallItem] = {}
        """Of every index."""

    def events(self, data: bytes) -> bytes:
        """Return what some events of a chat stream come to; comments stay.

        Raises
        ------
        UpstreamInvalidResponseError
            If one of them is no event of a chat completion; what came before it is told by
            `failed`.
        """
        out = self._untold
        for line in filter(None, data.split(b"\n")):
            if line.startswith(b"data: "):
                self._take(read_completion(line[6:]), out)
            elif line.startswith(b":"):
                out.append(line + b"\n\n")
        return self._all_of(out)

    def say(self, pieces: Iterable[TextPiece]) -> bytes:
        """Return what events of a chat stream come to that say nothing but these pieces.

        Not the first ones: who speaks, and when, is not in them.
        """
        out = self._untold
        for piece in pieces:
            if piece.text:
                self._say(piece.text, token_logprobs(piece.logprobs), out)
        return self._all_of(out)

    def _all_of(self, out: list[bytes]) -> bytes:
        told = b"".join(out)
        out.clear()
        return told

    def end(self, usage: Mapping[str, Any] | None, *, now: int) -> tuple[bytes, dict[str, Any]]:
        """Return the end of a complete stream, and the Response that it amounts to.

        Raises
        ------
        UpstreamInvalidResponseError
            If a tool was called without a name.
        """
        out = self._untold
        self._begin(out)
        status, incomplete = status_of(self._finish_reason)
        self._close_reasoning(out)
        if self._message is None and not self._calls and not self._said_something():
            self._message = self._open_message(out)
        self._close_message(out, status)
        self._close_calls(out, status)
        response = self._response(
            status,
            usage=usage,
            incomplete=incomplete,
            completed_at=now if status == "completed" else None,
        )
        self._emit(out, f"response.{status}", response=response)
        return b"".join(out), response

    def failed(self, error: Mapping[str, Any]) -> bytes:
        """Return the end of a stream that broke; `error` has a code and a message."""
        out = self._untold
        self._begin(out)
        self._emit(out, "response.failed", response=self._response("failed", error=error))
        return b"".join(out)

    @property
    def output(self) -> list[dict[str, Any]]:
        """The items that are complete, in order."""
        return [self._output[index] for index in sorted(self._output)]

    def _said_something(self) -> bool:
        return any(item["type"] != "reasoning" for item in self._output.values())

    def _take(self, event: Completion, out: list[bytes]) -> None:
        if not self.began:
            self._created_at = event.created_unix_s or self._now
            self._model = event.model or ""
            self._begin(out)
        choice = event.first
        if choice is None:
            return
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
        delta = choice.said
        if delta is None:
            return
        field, thinking = delta.thought
        if thinking or delta.thinking_blocks or delta.reasoning_details:
            self._think(thinking, field, delta, out)
        if text := delta.text:
            self._say(text, token_logprobs(choice.logprobs), out)
        if delta.refusal:
            self._refuse(delta.refusal, out)
        for i, call in enumerate(delta.calls):
            self._call(i if call.index is None else call.index, call, out)

    def _begin(self, out: list[bytes]) -> None:
        if self.began:
            return
        self.began = True
        response = self._response("in_progress")
        self._emit(out, "response.created", response={**response, **(self._extras or {})})
        self._emit(out, "response.in_progress", response=response)

    # Thinking

    def _think(self, text: str, field: str, delta: Said, out: list[bytes]) -> None:
        self._close_message(out, "completed")
        thought = self._reasoning
        if thought is None:
            thought = ReasoningItem(self._ids.item("rs"), self._place())
            self._reasoning = thought
            item = reasoning_item(thought.item_id, "", None, status="in_progress")
            self._added(thought, item, out)
        thought.blocks += delta.thinking_blocks or ()
        thought.details += delta.reasoning_details or ()
        if not text:
            return
        thought.field = field
        where = {
            "item_id": thought.item_id,
            "output_index": thought.output_index,
            "summary_index": 0,
        }
        if not thought.texts:
            part = {"type": "summary_text", "text": ""}
            self._emit(out, "response.reasoning_summary_part.added", **where, part=part)
        thought.texts.append(text)
        self._emit(out, "response.reasoning_summary_text.delta", **where, delta=text)

    def _close_reasoning(self, out: list[bytes]) -> None:
        thought, self._reasoning = self._reasoning, None
        if thought is None:
            return
        text = "".join(thought.texts)
        if text:
            where = {
                "item_id": thought.item_id,
                "output_index": thought.output_index,
                "summary_index": 0,
            }
            part = {"type": "summary_text", "text": text}
            self._emit(out, "response.reasoning_summary_text.done", **where, text=text)
            self._emit(out, "response.reasoning_summary_part.done", **where, part=part)
        sealed = seal(
            {"thinking_blocks": thought.blocks, "reasoning_details": thought.details},
            field=thought.field,
        )
        item = reasoning_item(thought.item_id, text, sealed, status="completed")
        self._done(thought, item, out)

    # Text

    def _open_message(self, out: list[bytes]) -> MessageItem:
        self._close_reasoning(out)
        message = MessageItem(self._ids.item("msg"), self._place())
        self._added(message, message_item(message.item_id, [], status="in_progress"), out)
        return message

    def _part(self, kind: str, out: list[bytes]) -> MessageItem:
        """Return the message whose last part is of a kind, with the part begun."""
        message = self._message
        if message is None:
            self._message = message = self._open_message(out)
        if message.kind != kind:
            self._close_part(message, out)
            message.begin(kind)
            part = text_part("") if kind == "text" else refusal_part("")
            self._emit(out, "response.content_part.added", **message.where, part=part)
        return message

    def _say(self, text: str, logprobs: list[Any], out: list[bytes]) -> None:
        message = self._part("text", out)
        message.texts.append(text)
        message.logprobs += logprobs
        self._emit(
            out, "response.output_text.delta", **message.where, delta=text, logprobs=logprobs
        )

    def _refuse(self, text: str, out: list[bytes]) -> None:
        message = self._part("refusal", out)
        message.texts.append(text)
        self._emit(out, "response.refusal.delta", **message.where, delta=text)

    def _close_part(self, message: MessageItem, out: list[bytes]) -> None:
        if message.kind is None:
            return
        text, where = "".join(message.texts), message.where
        if message.kind == "text":
            part = text_part(text, message.logprobs)
            self._emit(
                out, "response.output_text.done", **where, text=text, logprobs=message.logprobs
            )
        else:
            part = refusal_part(text)
            self._emit(out, "response.refusal.done", **where, refusal=text)
        self._emit(out, "response.content_part.done", **where, part=part)
        message.parts.append(part)
        message.kind, message.texts, message.logprobs = None, [], []

    def _close_message(self, out: list[bytes], status: str) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        self._close_part(message, out)
        item = message_item(message.item_id, message.parts or [text_part("")], status=status)
        self._done(message, item, out)

    # Calls

    def _call(self, index: int, piece: Call, out: list[bytes]) -> None:
        call = self._newest.get(index)
        # Servers that number every call zero tell them apart by their ids alone.
        if call is None or (piece.id and call.sent_id and piece.id != call.sent_id):
            self._close_reasoning(out)
            self._close_message(out, "completed")
            call = CallItem(self._ids.item("fc"), self._place())
            self._newest[index] = call
            self._calls.append(call)
        call.sent_id = call.sent_id or piece.id or ""
        function = piece.function
        if function is None:
            return
        call.name = call.name or function.name or ""
        if function.written:
            call.texts.append(function.written)
        if not call.name:
            return
        if not call.begun:
            self._begin_call(call, out)
        if call.kind is ToolKind.FUNCTION:
            news = "".join(call.texts[call.n_told :])
            call.n_told = len(call.texts)
            if news:
                self._emit(
                    out,
                    "response.function_call_arguments.delta",
                    item_id=call.item_id,
                    output_index=call.output_index,
                    delta=news,
                )

    def _begin_call(self, call: CallItem, out: list[bytes]) -> None:
        call.begun = True
        call.call_id = call.sent_id or self._ids.item("call")
        call.kind = self._names.tool(call.name).kind
        shown = call_item(
            call.item_id, call.call_id, call.name, "", self._names, status="in_progress"
        )
        self._added(call, shown, out)

    def _close_calls(self, out: list[bytes], status: str) -> None:
        for call in self._calls:
            if not call.begun:
                raise UpstreamInvalidResponseError("the upstream called a tool without a name")
            arguments = "".join(call.texts)
            where = {"item_id": call.item_id, "output_index": call.output_index}
            item = call_item(
                call.item_id, call.call_id, call.name, arguments, self._names, status=status
            )
            if call.kind is ToolKind.CUSTOM:
                text = custom_input(arguments)
                self._emit(out, "response.custom_tool_call_input.delta", **where, delta=text)
                self._emit(out, "response.custom_tool_call_input.done", **where, input=text)
            else:
                self._emit(
                    out,
                    "response.function_call_arguments.done",
                    **where,
                    name=item["name"],
                    arguments=arguments,
                )
            self._done(call, item, out)
        self._calls, self._newest = [], {}

    # All of them

    def _place(self) -> int:
        """Return the place of the next item among all of them."""
        open_items = [self._reasoning, self._message, *self._calls]
        return len(self._output) + sum([each is not None for each in open_items])

    def _added(self, item: OpenItem, shown: Mapping[str, Any], out: list[bytes]) -> None:
        self._emit(out, "response.output_item.added", output_index=item.output_index, item=shown)

    def _done(self, item: OpenItem, shown: dict[str, Any], out: list[bytes]) -> None:
        self._emit(out, "response.output_item.done", output_index=item.output_index, item=shown)
        self._output[item.output_index] = shown

    def _response(self, status: str, **more: Any) -> dict[str, Any]:
        return response_object(
            self._ids,
            self._echo,
            status=status,
            created_at=self._created_at,
            model=self._model,
            output=self.output,
            **more,
        )

    def _emit(self, out: list[bytes], kind: str, **fields: Any) -> None:
        payload = _encode({"type": kind, "sequence_number": self._n_events, **fields})
        self._n_events += 1
        out.append(b"event: " + kind.encode() + b"\ndata: " + payload + b"\n\n")
