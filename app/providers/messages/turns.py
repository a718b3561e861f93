"""OpenAI's messages as Anthropic's system prompt and alternating turns.

Clients hold histories that OpenAI takes and Anthropic does not: calls that were never answered or
whose arguments broke off, results without their call, ids that repeat or are empty. A refusal would
block such a conversation for good, so it is told in the nearest form that Anthropic takes.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers.messages.content import (
    NULL,
    Blocks,
    Part,
    content_blocks,
    mark_cached,
    refuse,
    text_blocks,
)

_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_CHARS = 128
_NOT_ANSWERED = "There is no result: the call was not carried out."
_WITHOUT_CALL = "Result of an earlier tool call:"
_BEGINNING = "(The conversation begins.)"
"""The first turn must be the user's."""

_LEGACY = "function_call"
"""The type we give to calls of the older field, which have no ids."""

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = NULL


class _ToolCall(msgspec.Struct):
    id: str | None = None
    type: str | None = "function"
    function: _Function | None = None
    cache_control: msgspec.Raw = NULL


class _Message(msgspec.Struct):
    """One message; `name` is read of a `function` message alone, `reasoning_content` of none.

    Anthropic has no names, and thinking without its signature is not accepted back;
    `thinking_blocks` carry it.
    """

    role: str
    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    thinking_blocks: list[msgspec.Raw] | None = None
    function_call: _Function | None = None
    audio: msgspec.Raw = NULL
    cache_control: msgspec.Raw = NULL


class _Thinking(msgspec.Struct):
    type: str = ""
    signature: str | None = None
    data: str | None = None

    @property
    def sealed(self) -> bool:
        """Whether the API takes it back; without its seal it refuses the whole request."""
        return bool(self.signature if self.type == "thinking" else self.data)


_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_thinking = msgspec.json.Decoder(_Thinking).decode


@dataclass(slots=True)
class _Call:
    """A tool call and, once it is known, its result."""

    id: str
    result: dict[str, Any] | None = None


@dataclass(slots=True)
class _Turn:
    role: str
    blocks: Blocks = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)


def encode_turns(raw: bytes) -> tuple[Blocks, Blocks]:
    """Return the system prompt's blocks and the turns, each user's or assistant's in one.

    System and developer messages, wherever they stand, become the system prompt in their order;
    alone they become the user's turn. Tool results open the turn after their call.

    Raises
    ------
    UpstreamUnsupportedError
        For content that Anthropic's API has no block for, or if there is none.
    """
    try:
        messages = _decode_messages(raw)
    except _DECODE_ERRORS as error:
        raise UpstreamUnsupportedError(
            f"messages cannot be read: {error}", param="messages"
        ) from error
    history = _History()
    for i, message in enumerate(messages):
        history.take(message, f"messages[{i}]")
    turns = list(history.finished())
    if turns:
        return history.system, turns
    if not history.system:
        refuse("Anthropic models need a text that is more than white space", "messages")
    return [], [{"role": "user", "content": history.system}]


class _History:
    """Takes message after message; each costs the same, however long the history is."""

    def __init__(self) -> None:
        self.system: Blocks = []
        self._turns: list[_Turn] = []
        self._n_calls = 0
        self._n_of_id: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, deque[_Call]] = defaultdict(deque)
        """Calls of the assistant's last turn without a result, by the id that the client has for
        them; those that have none by the empty one, and those of `function_call` by name."""

    def take(self, message: _Message, where: str) -> None:
        match message.role:
            case "system" | "developer":
                self.system += content_blocks(message.content, where, text_only="the system")
                mark_cached(self.system, message.cache_control)
            case "user":
                blocks = content_blocks(message.content, where)
                self._add("user", blocks, message.cache_control)
            case "assistant":
                self._take_assistant(message, where)
            case "tool" | "function":
                self._take_result(message, where)
            case _:
                refuse(f"role {message.role} is not supported by Anthropic models", where)

    def finished(self) -> Iterator[dict[str, Any]]:
        """Yield the turns as the API takes them."""
        turns = self._turns
        if turns and turns[0].role == "assistant":
            turns = [_Turn("user", text_blocks(_BEGINNING)), *turns]
        for i, turn in enumerate(turns):
            blocks = turn.blocks
            if turn.calls and i + 1 == len(turns):
                turns.append(_Turn("user"))
            if i and turns[i - 1].calls:
                blocks = [_result(call) for call in turns[i - 1].calls] + blocks
            if i + 1 == len(turns) and turn.role == "assistant":
                _strip_end(blocks)
            yield {"role": turn.role, "content": blocks}

    def _add(self, role: str, blocks: Blocks, mark: msgspec.Raw = NULL) -> None:
        """Add to the last turn if it is of that role; a message without content is none."""
        if blocks:
            self._turn(role).blocks += blocks
        if self._turns:
            mark_cached(self._turns[-1].blocks, mark)

    def _turn(self, role: str) -> _Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
            if role == "assistant":
                self._waiting.clear()  # whatever is answered now is no answer to earlier turns
        return self._turns[-1]

    def _take_assistant(self, message: _Message, where: str) -> None:
        if message.audio != NULL:
            refuse("audio is not supported by Anthropic models", where)
        # Signed thinking comes first, exactly as it was given out: its signature covers it.
        blocks: list[Any] = [each for each in message.thinking_blocks or () if _sealed(each)]
        said = content_blocks(message.content, where, text_only="the assistant")
        blocks += said or text_blocks(message.refusal)
        turn = self._turn("assistant") if blocks or _calls(message) else None
        for call in _calls(message):
            assert turn is not None  # noqa: S101  (there is a call)
            noted, block = self._call(call, where)
            turn.calls.append(noted)
            blocks.append(block)
        self._add("assistant", blocks, message.cache_control)

    def _call(self, call: _ToolCall, where: str) -> tuple[_Call, dict[str, Any]]:
        if call.function is None:
            refuse(f"tool calls of type {call.type} are not supported by Anthropic models", where)
        name = _NOT_IN_AN_ID.sub("_", call.function.name[:_MAX_NAME_CHARS])
        if not name:
            refuse("a tool call needs the name of a function", where)
        noted = _Call(self._new_id(call.id))
        by_name = call.type == _LEGACY
        self._waiting[call.function.name if by_name else call.id or ""].append(noted)
        arguments = _arguments(call.function.arguments)
        block = {"type": "tool_use", "id": noted.id, "name": name, "input": arguments}
        if call.cache_control != NULL:
            block["cache_control"] = call.cache_control
        return noted, block

    def _new_id(self, told: str | None) -> str:
        """Return an id of the characters that Anthropic allows, and that no call has yet."""
        self._n_calls += 1
        wanted = _NOT_IN_AN_ID.sub("_", (told or "")[:_MAX_NAME_CHARS]) or f"call_{self._n_calls}"
        chosen = wanted
        while self._n_of_id[chosen]:
            self._n_of_id[wanted] += 1
            chosen = f"{wanted}_{self._n_of_id[wanted]}"
        self._n_of_id[chosen] = 1
        return chosen

    def _take_result(self, message: _Message, where: str) -> None:
        blocks = content_blocks(message.content, where)
        told_id = message.name if message.role == "function" else message.tool_call_id
        waiting = self._waiting.get(told_id or "")
        if not waiting:
            # Its call was cut off the history, or answered already.
            self._add("user", text_blocks(_WITHOUT_CALL) + blocks, message.cache_control)
            return
        self._turn("user")
        call = waiting.popleft()
        call.result = {"type": "tool_result", "tool_use_id": call.id, "content": blocks}
        if message.cache_control != NULL:
            call.result["cache_control"] = message.cache_control


def _calls(message: _Message) -> list[_ToolCall]:
    calls = message.tool_calls or []
    if message.function_call is None:
        return calls
    return [*calls, _ToolCall(type=_LEGACY, function=message.function_call)]


def _result(call: _Call) -> dict[str, Any]:
    """Return what was answered; Anthropic demands an answer to every call."""
    return call.result or {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": text_blocks(_NOT_ANSWERED),
        "is_error": True,
    }


def _strip_end(blocks: Blocks) -> None:
    """Take white space from the end of what the model shall go on with, which is refused."""
    if blocks and type(blocks[-1]) is dict and blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def _sealed(raw: msgspec.Raw) -> bool:
    try:
        return _decode_thinking(raw).sealed
    except _DECODE_ERRORS:
        return False


def _arguments(raw: msgspec.Raw) -> dict[str, Any] | msgspec.Raw:
    """Return the input of a tool call; what is no JSON object is kept as a text in one.

    The model sees then what it had written, and the result says what came of it.
    """
    try:
        told = msgspec.json.decode(raw)
    except _DECODE_ERRORS:
        return {"invalid_arguments": bytes(raw).decode(errors="replace")}
    if isinstance(told, dict):
        return raw
    if told is None or (isinstance(told, str) and told.strip() in ("", "null")):
        return {}
    if isinstance(told, str):
        inner = told.encode()
        try:
            if isinstance(msgspec.json.decode(inner), dict):
                return msgspec.Raw(inner)
        except _DECODE_ERRORS:
            pass
    return {"invalid_arguments": told}
