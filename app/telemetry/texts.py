"""What was said, as text: only for what the operator opted in to keep or to trace."""

from collections.abc import Iterable
from typing import Any

import msgspec

from app.types import Texts


def kept_texts(texts: Texts) -> dict[str, Any]:
    """Return the texts of a request as they are kept: messages by role, and the answer's text."""
    return {
        "messages": [
            {"role": message.role.value, "content": message.text}
            for message in texts.conversation.messages
        ],
        "answer": answer_text(texts),
    }


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


_COMPLETION = msgspec.json.Decoder(_Completion)


def answer_text(texts: Texts) -> str | None:
    """Return the text of the first choice, as far as it came; None where there is none.

    Tool calls, audio and what models think aloud are not texts.
    """
    body = b"".join(texts.answer)
    lines = [body] if not texts.streamed else _events(body)
    parts = []
    for line in lines:
        try:
            choices = _COMPLETION.decode(line).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        for choice in choices:
            if choice.index == 0:
                piece = choice.message or choice.delta or _Said()
                parts.append(piece.content or piece.refusal or "")
    return "".join(parts) or None


def _events(body: bytes) -> Iterable[bytes]:
    return (line[6:] for line in body.split(b"\n") if line.startswith(b"data: {"))
