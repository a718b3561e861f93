"""OpenAI's messages as a system prompt and alternating turns, for APIs that want them so.

Clients hold histories that OpenAI takes and others do not: calls that were never answered or whose
arguments broke off, results without their call, ids that repeat or are empty. A refusal would block
such a conversation for good, so it is told in the nearest form that is taken.
"""

import re
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers.translation.parts import NULL, Blocks, Part, unsupported_content
from app.wire.decoding import DECODE_ERRORS

_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
NOT_ANSWERED = "There is no result: the call was not carried out."
_WITHOUT_CALL = "Result of an earlier tool call:"
_BEGINNING = "(The conversation begins.)"
"""The first turn must be the user's."""

_LEGACY = "function_call"
"""The type we give to calls of the older field, which have no ids."""


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = NULL


class _GoogleContent(msgspec.Struct):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct):
    """What Google's own OpenAI-compatible API puts beside a call or a text."""

    google: _GoogleContent | None = None


class ToolCall(msgspec.Struct):
    """A call that the model has made."""

    id: str | None = None
    type: str | None = "function"
    function: _Function | None = None
    cache_control: msgspec.Raw = NULL
    extra_content: _ExtraContent | None = None

    @property
    def thought_signature(self) -> str | None:
        """What a Gemini model sealed its thoughts with."""
        return _signature(self.extra_content)


class Message(msgspec.Struct):
    """One message; `name` is read of a `function` message alone, `reasoning_content` of none.

    The APIs have no names, and thinking without its signature is not accepted back;
    `thinking_blocks` carry it.
    """

    role: str
    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    thinking_blocks: list[msgspec.Raw] | None = None
    function_call: _Function | None = None
    audio: msgspec.Raw = NULL
    cache_control: msgspec.Raw = NULL
    extra_content: _ExtraContent | None = None

    @property
    def thought_signature(self) -> str | None:
        """What a Gemini model sealed its thoughts with."""
        return _signature(self.extra_content)


def _signature(extra: _ExtraContent | None) -> str | None:
    return None if extra is None or extra.google is None else extra.google.thought_signature


_decode_messages = msgspec.json.Decoder(list[Message]).decode


class Call(msgspec.Struct):
    """A tool call and, once it is known, its result.

    Attributes
    ----------
    content
        Of the result; None where it never came.
    mark
        Of the prompt's cache, on the result.
    """

    id: str
    name: str
    content: Blocks | None = None
    mark: msgspec.Raw = NULL


class Speech(ABC):
    """How one API writes what is in a turn."""

    vendor: ClassVar[str]
    """Whose models they are, for messages: "Gemini models"."""
    max_id_chars: ClassVar[int] = 128
    max_name_chars: ClassVar[int] = 128
    not_in_a_name: ClassVar[re.Pattern[str]] = re.compile(r"[^a-zA-Z0-9_-]")

    @abstractmethod
    def content(
        self, content: str | list[Part] | None, where: str, *, text_only: str | None = None
    ) -> Blocks:
        """Return the blocks of a message's content, without the blank ones.

        Parameters
        ----------
        text_only
            Whose content may hold nothing but text, for the message of a refusal.

        Raises
        ------
        UpstreamUnsupportedError
            For a part that the API has no block for.
        """

    @abstractmethod
    def text(self, text: str | None) -> Blocks:
        """Return the block of a text; none for white space, which APIs refuse."""

    @abstractmethod
    def call(self, call: Call, arguments: dict[str, Any] | msgspec.Raw, told: ToolCall) -> Blocks:
        """Return the block of a call; `told` is what the client has of it."""

    @abstractmethod
    def result(self, call: Call) -> Blocks:
        """Return the block of a call's result; APIs demand one for every call."""

    def spoken(self, message: Message, said: Blocks) -> Blocks:  # noqa: ARG002
        """Return what the model said, with what it had thought where the API takes that back."""
        return said

    def mark(self, blocks: Blocks, mark: msgspec.Raw) -> None:  # noqa: B027  (most have none)
        """Put a mark of the prompt's cache behind what there is, where the API has such."""


@dataclass(slots=True)
class _Turn:
    role: str
    blocks: Blocks = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def encode_turns(raw: bytes, speech: Speech) -> tuple[Blocks, list[tuple[str, Blocks]]]:
    """Return the system prompt's blocks and the turns, each user's or assistant's in one.

    System and developer messages, wherever they stand, become the system prompt in their order;
    alone they become the user's turn. Tool results open the turn after their call.

    Raises
    ------
    UpstreamUnsupportedError
        For content that the API has no block for, or if there is none.
    """
    try:
        messages = _decode_messages(raw)
    except DECODE_ERRORS as error:
        raise UpstreamUnsupportedError(
            f"messages cannot be read: {error}", param="messages"
        ) from error
    history = _History(speech)
    for i, message in enumerate(messages):
        history.take(message, f"messages[{i}]")
    turns = list(history.finished())
    if turns:
        return history.system, turns
    if not history.system:
        raise unsupported_content(
            f"{speech.vendor} need a text that is more than white space", "messages"
        )
    return [], [("user", history.system)]


class _History:
    """Takes message after message; each costs the same, however long the history is."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self.system: Blocks = []
        self._turns: list[_Turn] = []
        self._n_calls = 0
        self._n_of_id: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, deque[Call]] = defaultdict(deque)
        """Calls of the assistant's last turn without a result, by the id that the client has for
        them; those that have none by the empty one, and those of `function_call` by name."""

    def take(self, message: Message, where: str) -> None:
        speech = self._speech
        match message.role:
            case "system" | "developer":
                self.system += speech.content(message.content, where, text_only="the system")
                speech.mark(self.system, message.cache_control)
            case "user":
                blocks = speech.content(message.content, where)
                self._add("user", blocks, message.cache_control)
            case "assistant":
                self._take_assistant(message, where)
            case "tool" | "function":
                self._take_result(message, where)
            case _:
                raise unsupported_content(
                    f"role {message.role} is not supported by {speech.vendor}", where
                )

    def finished(self) -> Iterator[tuple[str, Blocks]]:
        """Yield the turns as the API takes them."""
        turns = self._turns
        if turns and turns[0].role == "assistant":
            turns = [_Turn("user", self._speech.text(_BEGINNING)), *turns]
        for i, turn in enumerate(turns):
            blocks = turn.blocks
            if turn.calls and i + 1 == len(turns):
                turns.append(_Turn("user"))
            if i and turns[i - 1].calls:
                results = (self._result(call) for call in turns[i - 1].calls)
                blocks = [block for result in results for block in result] + blocks
            if i + 1 == len(turns) and turn.role == "assistant":
                _strip_end(blocks)
            yield turn.role, blocks

    def _result(self, call: Call) -> Blocks:
        blocks = self._speech.result(call)
        self._speech.mark(blocks, call.mark)
        return blocks

    def _add(self, role: str, blocks: Blocks, mark: msgspec.Raw = NULL) -> None:
        """Add to the last turn if it is of that role; a message without content is none."""
        if blocks:
            self._turn(role).blocks += blocks
        if self._turns:
            self._speech.mark(self._turns[-1].blocks, mark)

    def _turn(self, role: str) -> _Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
            if role == "assistant":
                self._waiting.clear()  # whatever is answered now is no answer to earlier turns
        return self._turns[-1]

    def _take_assistant(self, message: Message, where: str) -> None:
        speech = self._speech
        if message.audio != NULL:
            raise unsupported_content(f"audio is not supported by {speech.vendor}", where)
        said = speech.content(message.content, where, text_only="the assistant")
        blocks = speech.spoken(message, said or speech.text(message.refusal))
        turn = self._turn("assistant") if blocks or _calls(message) else None
        for call in _calls(message):
            assert turn is not None  # noqa: S101  (there is a call)
            noted, block = self._call(call, where)
            turn.calls.append(noted)
            blocks += block
        self._add("assistant", blocks, message.cache_control)

    def _call(self, call: ToolCall, where: str) -> tuple[Call, Blocks]:
        speech = self._speech
        if call.function is None:
            raise unsupported_content(
                f"tool calls of type {call.type} are not supported by {speech.vendor}", where
            )
        name = speech.not_in_a_name.sub("_", call.function.name[: speech.max_name_chars])
        if not name:
            raise unsupported_content("a tool call needs the name of a function", where)
        noted = Call(self._new_id(call.id), name)
        by_name = call.type == _LEGACY
        self._waiting[call.function.name if by_name else call.id or ""].append(noted)
        blocks = speech.call(noted, _arguments(call.function.arguments), call)
        speech.mark(blocks, call.cache_control)
        return noted, blocks

    def _new_id(self, told: str | None) -> str:
        """Return an id of the characters that APIs allow, and that no call has yet."""
        self._n_calls += 1
        wanted = _NOT_IN_AN_ID.sub("_", (told or "")[: self._speech.max_id_chars])
        wanted = wanted or f"call_{self._n_calls}"
        chosen = wanted
        while self._n_of_id[chosen]:
            self._n_of_id[wanted] += 1
            count = f"_{self._n_of_id[wanted]}"
            chosen = wanted[: self._speech.max_id_chars - len(count)] + count
        self._n_of_id[chosen] = 1
        return chosen

    def _take_result(self, message: Message, where: str) -> None:
        blocks = self._speech.content(message.content, where)
        told_id = message.name if message.role == "function" else message.tool_call_id
        waiting = self._waiting.get(told_id or "")
        if not waiting:
            # Its call was cut off the history, or answered already.
            self._add("user", self._speech.text(_WITHOUT_CALL) + blocks, message.cache_control)
            return
        self._turn("user")
        call = waiting.popleft()
        call.content, call.mark = blocks, message.cache_control


def _calls(message: Message) -> list[ToolCall]:
    calls = message.tool_calls or []
    if message.function_call is None:
        return calls
    return [*calls, ToolCall(type=_LEGACY, function=message.function_call)]


def _strip_end(blocks: Blocks) -> None:
    """Take white space from the end of what the model shall go on with, which is refused."""
    if blocks and type(blocks[-1]) is dict and isinstance(blocks[-1].get("text"), str):
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def _arguments(raw: msgspec.Raw) -> dict[str, Any] | msgspec.Raw:
    """Return the input of a tool call; what is no JSON object is kept as a text in one.

    The model sees then what it had written, and the result says what came of it.
    """
    try:
        told = msgspec.json.decode(raw)
    except DECODE_ERRORS:
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
        except DECODE_ERRORS:
            pass
    return {"invalid_arguments": told}
