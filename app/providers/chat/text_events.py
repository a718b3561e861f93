"""Events of a stream that say nothing but a piece of the answer's text, as nearly all do.

They are read into a narrow shape, into which nothing else fits: one choice, the first; a delta of
text alone; no end, no error, no token counts. What does not fit is read as the rest of the room
reads it.
"""

from typing import Literal

import msgspec

from app.providers.base import TextPiece
from app.providers.chat.wire import NULL, is_readable
from app.wire.decoding import DECODE_ERRORS


class _Delta(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Any other field may be part of the answer."""

    content: str
    role: str | None = None
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    tool_calls: None = None
    function_call: None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    delta: _Delta
    index: Literal[0] | None = 0
    message: None = None
    finish_reason: None = None
    stop_reason: None = None
    logprobs: msgspec.Raw = NULL
    usage: None = None
    error: None = None


class TextEvent(msgspec.Struct, frozen=True, gc=False):
    """One event that brings text, or who speaks."""

    choices: tuple[_Choice]
    model: str | None = None
    usage: None = None
    x_groq: None = None
    usage_metadata: None = msgspec.field(default=None, name="usageMetadata")
    error: None = None

    @property
    def piece(self) -> TextPiece:
        """What it brings."""
        choice = self.choices[0]
        return TextPiece(choice.delta.content, choice.logprobs)


_decode = msgspec.json.Decoder(TextEvent).decode


def read_text_event(data: bytes) -> TextEvent | None:
    """Read the data of an event; None where it says anything but a piece of text."""
    try:
        event = _decode(data)
    except DECODE_ERRORS:
        return None
    return event if is_readable(data) else None
