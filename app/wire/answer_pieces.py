"""Streamed answers: put together into one completion, and replayed from one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from app.usage import ToldUsage

KEEPABLE = frozenset({"stop", "length", "tool_calls", "function_call"})
"""Ends of a complete answer; one that a filter cut short is not worth repeating."""

_TEXTS = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
_LOGPROB_BYTES = 64
"""About what one token's entry takes, so that these are bounded too."""

_ERRORS = (
    msgspec.DecodeError,
    RecursionError,
    ValueError,
    # Of values that are not of the shape that a completion has.
    AttributeError,
    KeyError,
    TypeError,
)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_NULL = msgspec.Raw(b"null")


class CannotAssembleError(Exception):
    """A stream holds something that has no known place in a whole completion."""


class Assembler:
    """Builds the completion that a stream amounts to, event by event.

    What it does not know how to join (audio, pieces of reasoning that providers number their own
    way) makes the whole answer one that is not kept: rather none than another.

    Parameters
    ----------
    max_bytes
        Of text; a longer answer is given up on.
    choice
        Joins the pieces of one choice.
    """

    def __init__(self, max_bytes: int, *, choice: "type[ChoicePieces] | None" = None) -> None:
        self._choice = choice or ChoicePieces
        self._left = max_bytes
        self._head: dict[str, Any] = {}
        self._choices: dict[int, ChoicePieces] = {}
        self._usage: Any = None
        self._failed = False

    def feed(self, chunk: Chunk) -> None:
        """Take what one read of the stream brought."""
        if self._failed:
            return
        if chunk.dialect != CHAT_COMPLETIONS:
            self._failed = True
            return
        try:
            for line in chunk.data.split(b"\n"):
                if line.startswith(b"data: "):
                    self._take(self._decoded(line[6:]))
            if chunk.usage_event is not None:
                self._usage = msgspec.json.decode(chunk.usage_event)["usage"]
        except (CannotAssembleError, *_ERRORS):
            self._failed = True
            self._choices.clear()

    def completion(self) -> bytes | None:
        """Return the whole answer as JSON; None if it cannot be told exactly."""
        if self._failed or not self._choices:
            return None
        head = {key: value for key, value in self._head.items() if key != "obfuscation"}
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        whole = {**head, "object": "chat.completion", "choices": choices}
        if self._usage is not None:
            whole["usage"] = self._usage
        return msgspec.json.encode(whole)

    def _take(self, event: dict[str, Any]) -> None:
        for key, value in event.items():
            if key == "usage":
                self._usage = value or self._usage
            elif key == "choices":
                for i, choice in enumerate(value or ()):
                    index = self._index(choice.get("index"), i)
                    self._left -= self._piece(index).take(choice)
            elif value is not None or key not in self._head:
                self._head[key] = value
        if self._left < 0:
            raise CannotAssembleError("too long")

    def _decoded(self, event: bytes) -> Any:
        return msgspec.json.decode(event)

    def _piece(self, index: int) -> "ChoicePieces":
        piece = self._choices.get(index)
        if piece is None:
            piece = self._choices[index] = self._choice()
        return piece

    def _index(self, told: object, position: int) -> int:
        """Return which choice is meant; the only one where none is told, else nobody knows."""
        index = _index(told)
        if index is not None:
            return index
        if position or any(self._choices):
            raise CannotAssembleError("choices without an index")
        return 0


def _index(told: object) -> int | None:
    if isinstance(told, str) and told.isdecimal() and len(told) < 6:
        return int(told)
    return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None


class ChoicePieces:
    """One choice of a stream, as far as it has come."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._rest: dict[str, Any] = {"finish_reason": None}

    def take(self, choice: Mapping[str, Any]) -> int:
        """Add a piece; return how many characters of text came with it."""
        n_chars = self._delta(choice.get("delta") or {})
        for key, value in choice.items():
            if key in ("delta", "index") or value is None:
                continue
            if key == "logprobs":
                for name, entries in value.items():
                    self._logprobs.setdefault(name, []).extend(entries or ())
                    n_chars += _LOGPROB_BYTES * len(entries or ())
            else:
                self._rest[key] = value
        return n_chars

    def _delta(self, delta: Mapping[str, Any]) -> int:
        n_chars = 0
        for key, value in delta.items():
            if key == "role":
                self._message["role"] = value or "assistant"
            elif not value and key not in _TEXTS:
                continue
            elif key in _TEXTS:
                if isinstance(value, str):
                    self._texts.setdefault(key, []).append(value)
                    n_chars += len(value)
                elif value is not None:
                    raise CannotAssembleError(f"delta.{key}")
            elif key == "tool_calls":
                n_chars += sum(_merge_call(self._call(call), call) for call in value)
            elif key == "function_call":
                n_chars += _merge_function(self._message.setdefault(key, {}), value)
            else:
                n_chars += self._other(key, value)
        return n_chars

    def _other(self, key: str, value: Any) -> int:
        if key == "annotations":
            self._message.setdefault(key, []).extend(value)
            return 0
        if key == "extra_content":  # Gemini's seal on what it has thought
            self._message[key] = value
            return len(str(value))
        raise CannotAssembleError(f"delta.{key}")

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        index = _index(call.get("index"))
        if index is None:
            raise CannotAssembleError("a tool call without an index")
        return self._calls.setdefault(index, {})

    def whole(self, index: int) -> dict[str, Any]:
        """Return the choice of a completion."""
        message = self._message | {key: "".join(parts) for key, parts in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [self._calls[each] for each in sorted(self._calls)]
            message["content"] = message["content"] or None
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs or None,
            **self._rest,
        }


def _merge_call(call: dict[str, Any], piece: Mapping[str, Any]) -> int:
    n_chars = 0
    for key, value in piece.items():
        if key == "function":
            n_chars += _merge_function(call.setdefault(key, {}), value)
        elif key != "index":
            _say_once(call, key, value)
    return n_chars


def _say_once(known: dict[str, Any], key: str, value: Any) -> None:
    """Take what is said in one piece; some servers say it again, or say nothing, in later ones."""
    if not known.get(key):
        if value is not None:
            known[key] = value
    elif value and value != known[key]:
        raise CannotAssembleError(key)


def _merge_function(function: dict[str, Any], piece: Mapping[str, Any]) -> int:
    n_chars = 0
    for key, value in piece.items():
        if key != "arguments":
            _say_once(function, key, value)
        elif value is not None:
            function[key] = function.get(key, "") + value
            n_chars += len(value)
    return n_chars


def put_together(chunks: Iterable[Chunk], assembler: Assembler) -> Chunk:
    """Return the whole answer that a stream amounts to.

    Parameters
    ----------
    assembler
        That has seen nothing yet.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is empty, or holds something that has no known place in a whole answer.
    """
    usage: ToldUsage | None = None
    seen = list(chunks)
    for chunk in seen:
        assembler.feed(chunk)
        if chunk.usage is not None:
            usage = chunk.usage if usage is None else usage.updated(chunk.usage)
    body = assembler.completion() if any(chunk.has_content for chunk in seen) else None
    if body is None:
        raise UpstreamInvalidResponseError(
            "the upstream streamed an answer that was not to be, and it cannot be put together"
        )
    return Chunk(
        data=body,
        usage=usage,
        content_events=sum(chunk.content_events for chunk in seen),
        content_chars=sum(chunk.content_chars for chunk in seen),
        response_model=_last(chunk.response_model for chunk in seen),
        finish_reason=_last(chunk.finish_reason for chunk in seen),
        headers=seen[0].headers,
    )


def _last(values: Iterable[str | None]) -> str | None:
    return next((value for value in reversed(list(values)) if value is not None), None)


def in_pieces(whole: Chunk) -> Chunk:
    """Return a whole answer as a stream of one piece.

    Raises
    ------
    UpstreamInvalidResponseError
        If its choices are of no shape that a stream could have.
    """
    try:
        events, usage_event = replay(whole.data, include_usage=False)
    except _ERRORS as error:
        raise UpstreamInvalidResponseError(
            "the upstream did not stream its answer, and it cannot be told in pieces"
        ) from error
    template = events.removeprefix(b"data: ").partition(b"\n")[0]
    return msgspec.structs.replace(
        whole, data=events, usage_event=usage_event, template=template or None
    )


def is_keepable(body: bytes) -> bool:
    """Whether a completion is whole: every choice has a message and came to its natural end."""
    try:
        choices = _OBJECTS.decode(_OBJECT.decode(body)["choices"])
        return bool(choices) and all(
            bool(_OBJECT.decode(choice["message"])) and _reason(choice) in KEEPABLE
            for choice in choices
        )
    except _ERRORS:
        return False


def _reason(choice: Mapping[str, msgspec.Raw]) -> Any:
    return msgspec.json.decode(choice["finish_reason"])


def replay(body: bytes, *, include_usage: bool) -> tuple[bytes, bytes | None]:
    """Return a completion as the events of a stream, and the JSON of its usage event.

    Parameters
    ----------
    body
        A completion that `is_keepable`.
    include_usage
        Whether the client asked for usage; every event then says that its own is null.
    """
    completion = _OBJECT.decode(body)
    usage = completion.pop("usage", None)
    choices = _OBJECTS.decode(completion.pop("choices"))
    head = completion | {"object": msgspec.Raw(b'"chat.completion.chunk"')}
    tail = {"usage": _NULL} if include_usage else {}
    events = [
        b"data: %b\n\n" % msgspec.json.encode({**head, "choices": [piece], **tail})
        for choice in choices
        for piece in _pieces(choice)
    ]
    if usage is None or usage == _NULL:
        return b"".join(events), None
    return b"".join(events), msgspec.json.encode({**head, "choices": [], "usage": usage})


def _pieces(choice: dict[str, msgspec.Raw]) -> Sequence[dict[str, Any]]:
    """Return one choice as streams tell it: who speaks, all that is said, why it ended."""
    message = _OBJECT.decode(choice.pop("message"))
    reason = choice.pop("finish_reason", _NULL)
    index = choice.pop("index", msgspec.Raw(b"0"))
    role = message.pop("role", msgspec.Raw(b'"assistant"'))
    said: dict[str, Any] = {key: value for key, value in message.items() if value != _NULL}
    if "tool_calls" in said:
        calls = _OBJECTS.decode(said["tool_calls"])
        said["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    logprobs = choice.pop("logprobs", _NULL)
    opening = {"role": role, "content": "" if "content" in said else None}

    def piece(delta: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": _NULL, "finish_reason": None, **rest}

    return (
        piece(opening),
        *([piece(said, logprobs=logprobs)] if said else []),
        piece({}, **choice, finish_reason=reason),
    )
