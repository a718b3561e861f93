"""A conversation as it is kept between two requests, so that the next one can go on by its id."""

from collections.abc import Sequence
from typing import Any

import msgspec


class KeptResponse(msgspec.Struct, frozen=True, array_like=True):
    """One response, and all that was said until then.

    Attributes
    ----------
    response
        The JSON of the Response as its client got it.
    items
        The JSON of every item of the conversation, those of the answer last.
    n_input
        How many of them are the response's input.
    """

    response: bytes
    items: tuple[bytes, ...]
    n_input: int

    def encoded(self) -> bytes:
        """Return the bytes that are kept."""
        return _encode(self)

    @property
    def input_items(self) -> list[dict[str, Any]]:
        """The items of the input, each with an id."""
        found = []
        for i, raw in enumerate(self.items[: self.n_input]):
            item = msgspec.json.decode(raw)
            item.setdefault("type", "message")
            item.setdefault("id", f"item_{i}")
            found.append(item)
        return found


_encode = msgspec.msgpack.Encoder().encode
decode_kept = msgspec.msgpack.Decoder(KeptResponse).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def items_of(raw_input: bytes) -> tuple[bytes, ...]:
    """Return the items of an input, which may be a mere string.

    Raises
    ------
    msgspec.DecodeError
        If it is neither a string nor a list.
    """
    if raw_input.lstrip().startswith(b'"'):
        return (b'{"type":"message","role":"user","content":' + raw_input.strip() + b"}",)
    return tuple(bytes(item) for item in _items(raw_input))


def input_of(items: Sequence[bytes]) -> bytes:
    """Return items as the value of `input`."""
    return b"[" + b",".join(items) + b"]"
