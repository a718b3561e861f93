"""Streams that are put together although they are not quite of the shape.

Where a server streams what was asked for whole, there is no second reader who could make more of
it: what can be told is told. Answers that are to be kept are read strictly instead.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.ids import new_id
from app.wire.answer_pieces import Assembler, ChoicePieces

_TEXTS = ("refusal", "reasoning_content", "reasoning")


class LenientAssembler(Assembler):
    """Builds the completion that a stream amounts to, as far as it can be understood."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, choice=_LenientChoice)

    def _decoded(self, event: bytes) -> Any:
        try:
            return super()._decoded(event)
        except msgspec.DecodeError:
            return json.loads(event)  # numbers that are too large

    def _take(self, event: Any) -> None:
        if not isinstance(event, dict):
            return
        told = {**event, "choices": [_choice(each) for each in _objects(event.get("choices"))]}
        super()._take(told)


def _choice(value: Mapping[str, Any]) -> dict[str, Any]:
    index = str(value.get("index"))
    told = {**value, "index": int(index) if index.isdecimal() and len(index) < 6 else 0}
    said = value.get("delta") or value.get("message")  # some servers stream messages as well
    told.pop("message", None)
    told["delta"] = said if isinstance(said, dict) else {}
    logprobs = told.pop("logprobs", None)
    if isinstance(logprobs, dict):
        told["logprobs"] = {name: v for name, v in logprobs.items() if isinstance(v, list)}
    return told


class _LenientChoice(ChoicePieces):
    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[int, _Call] = {}
        """Of every index that the server told."""
        self._n_calls = 0

    def _delta(self, delta: Mapping[str, Any]) -> int:
        told = dict(delta)
        told["content"] = _text(delta.get("content"))
        for name in _TEXTS:
            if not isinstance(delta.get(name), str):
                told.pop(name, None)
        calls = _objects(delta.get("tool_calls"))
        older = told.pop("function_call", None)
        if isinstance(older, dict) and not calls:
            calls = [{"index": 0, "function": older}]
        told["tool_calls"] = [self._placed(each, i) for i, each in enumerate(calls)]
        return super()._delta(told)

    def _placed(self, piece: dict[str, Any], position: int) -> dict[str, Any]:
        """Return a piece of a call under the number of its call, without what is known of it."""
        index = str(piece.get("index"))
        at = int(index) if index.isdecimal() and len(index) < 6 else position
        own = piece.get("id")
        call_id = "" if own is None or isinstance(own, dict | list) else str(own)
        call = self._newest.get(at)
        # Servers that number every call zero tell them apart by their ids alone.
        if call is None or (call_id and call.id and call_id != call.id):
            call = self._newest[at] = _Call(self._n_calls)
            self._n_calls += 1
        function = piece.get("function")
        written = function if isinstance(function, dict) else {}
        told: dict[str, Any] = {"index": call.number, "function": {}}
        if call_id and not call.id:
            told["id"] = call.id = call_id
        if call.is_new:
            told["type"], call.is_new = "function", False
            told["function"]["arguments"] = ""
        if not call.name and isinstance(written.get("name"), str) and written["name"]:
            told["function"]["name"] = call.name = written["name"]
        arguments = written.get("arguments")
        if arguments is not None:
            whole = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments)
            told["function"]["arguments"] = whole if isinstance(whole, str) else whole.decode()
        if "extra_content" in piece:
            told["extra_content"] = piece["extra_content"]
        return told

    def whole(self, index: int) -> dict[str, Any]:
        """Return the choice of a completion; every call has an id, which its result will name."""
        for call in self._calls.values():
            call.setdefault("id", new_id("call_"))
        return super().whole(index)

    def _other(self, key: str, value: Any) -> int:
        if key == "audio":
            return super()._other(key, value)  # pieces of a recording make no whole one
        if isinstance(value, list):
            known = self._message.get(key)
            self._message[key] = [*known, *value] if isinstance(known, list) else value
        else:
            self._message[key] = value
        return len(str(value))


class _Call:
    """What is known of one call."""

    __slots__ = ("id", "is_new", "name", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id = self.name = ""
        self.is_new = True


def _objects(value: Any) -> Sequence[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(content: Any) -> str | None:
    """Return the content, whose texts some servers send as a list of parts."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in _objects(content)]
    return "".join(text for text in texts if isinstance(text, str)) or None
