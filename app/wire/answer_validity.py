"""Whether what an answer should hold as JSON can be read: its text, or the arguments of tools."""

from collections.abc import Iterable, Sequence

import msgspec

from app.paths import CHAT_COMPLETIONS
from app.wire.answer_text import answer_text, event_payloads
from app.wire.decoding import DECODE_ERRORS


class _Function(msgspec.Struct):
    arguments: msgspec.Raw = msgspec.Raw(b"null")


class _Call(msgspec.Struct):
    index: int = 0
    function: _Function | None = None


class _Said(msgspec.Struct):
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


_COMPLETION = msgspec.json.Decoder(_Completion)


def holds_valid_json(
    answer: Sequence[bytes], *, streamed: bool, dialect: str, text_is_json: bool
) -> bool | None:
    """Return whether an answer's JSON can be read; None where it should hold none.

    Parameters
    ----------
    answer
        As the client got it, in pieces: server-sent events where `streamed`, else one JSON.
    text_is_json
        Whether the request asked for JSON as the text of its answer.
    """
    body = b"".join(answer)
    if dialect == CHAT_COMPLETIONS:
        arguments = _arguments(event_payloads(body) if streamed else [body])
        if arguments:
            return all(map(_is_object, arguments))
    if not text_is_json:
        return None
    text = answer_text(answer, streamed=streamed, dialect=dialect)
    return None if text is None else _is_json(text)


def _arguments(payloads: Iterable[bytes]) -> list[str]:
    """Return the arguments of each tool call of the first choice, put together of their pieces."""
    found: dict[int, str] = {}
    for payload in payloads:
        if b'"tool_calls"' not in payload:
            continue
        try:
            choices = _COMPLETION.decode(payload).choices
        except DECODE_ERRORS:
            continue
        for choice in choices:
            said = choice.message or choice.delta
            if choice.index != 0 or said is None:
                continue
            for position, call in enumerate(said.tool_calls or ()):
                at = position if choice.message is not None else call.index
                piece = "" if call.function is None else _written(call.function.arguments)
                found[at] = found.get(at, "") + piece
    return list(found.values())


def _written(arguments: msgspec.Raw) -> str:
    """Return arguments as they are written; servers of no strict mind send an object."""
    raw = bytes(arguments)
    if raw == b"null":
        return ""
    return msgspec.json.decode(raw) if raw.startswith(b'"') else raw.decode("utf-8", "replace")


def _is_object(text: str) -> bool:
    # No arguments at all are written as nothing by some.
    return not text.strip() or (_is_json(text) and text.lstrip().startswith("{"))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
