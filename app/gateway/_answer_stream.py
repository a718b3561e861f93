"""Streamed answers: put together into one completion, and replayed from one."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.providers._base import Chunk

_KEEPABLE = frozenset({"stop", "length", "tool_calls", "function_call"})
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
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Any = None
        self._failed = False

    def feed(self, chunk: Chunk) -> None:
        """Take what one read of the stream brought."""
        if self._failed:
            return
        try:
            for line in chunk.data.split(b"\n"):
                if line.startswith(b"data: "):
                    self._take(msgspec.json.decode(line[6:]))
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
                for choice in value or ():
                    index = choice.get("index", 0)
                    self._left -= self._choices.setdefault(index, _Choice()).take(choice)
            elif value is not None or key not in self._head:
                self._head[key] = value
        if self._left < 0:
            raise CannotAssembleError("too long")


class _Choice:
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
            elif key == "annotations":
                self._message.setdefault(key, []).extend(value)
            else:
                raise CannotAssembleError(f"delta.{key}")
        return n_chars

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        return self._calls.setdefault(call["index"], {})

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
        elif key != "index" and value is not None:
            call[key] = value
    return n_chars


def _merge_function(function: dict[str, Any], piece: Mapping[str, Any]) -> int:
    n_chars = 0
    for key, value in piece.items():
        if value is None:
            continue
        if key != "arguments":
            function[key] = value
            continue
        function[key] = function.get(key, "") + value
        n_chars += len(value)
    return n_chars


def is_keepable(body: bytes) -> bool:
    """Whether a completion is whole: every choice has a message and came to its natural end."""
    try:
        choices = _OBJECTS.decode(_OBJECT.decode(body)["choices"])
        return bool(choices) and all(
            bool(_OBJECT.decode(choice["message"])) and _reason(choice) in _KEEPABLE
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
    reason = choice.pop("finish_reason")
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
