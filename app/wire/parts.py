"""The parts of chat messages that are no text, found among those that are."""

from collections.abc import Iterator, Sequence

import msgspec

from routers.media.parts import NO_ATTACHMENTS, TEXT_TYPES, Attachments, Looked

_NULL = msgspec.Raw(b"null")


class Part(msgspec.Struct):
    """One part of a message, as far as it is looked into."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: msgspec.Raw = _NULL


class _Contents(msgspec.Struct):
    content: msgspec.Raw = _NULL


_decode_messages = msgspec.json.Decoder(list[_Contents]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def attachments(parts: Sequence[Part], messages: msgspec.Raw) -> Attachments:
    """Add up what is no text in a request.

    Parameters
    ----------
    parts
        All of its messages.
    messages
        The same as they were sent; looked into only where a part is neither text nor a picture in
        OpenAI's way.
    """
    if all(part.type in TEXT_TYPES for part in parts):
        return NO_ATTACHMENTS
    looked = Looked()
    if all(part.type in TEXT_TYPES or part.type == "image_url" for part in parts):
        pictures = [part.image_url for part in parts if part.type == "image_url"]
        return Attachments.of([looked.picture(raw) for raw in pictures])
    return Attachments.of(
        looked.picture(part.image_url)
        if part.type == "image_url"
        else looked.into(part.type, bytes(raw))
        for part, raw in zip(parts, _raw_parts(messages), strict=True)
        if part.type not in TEXT_TYPES
    )


def _raw_parts(messages: msgspec.Raw) -> Iterator[msgspec.Raw]:
    for message in _decode_messages(messages):
        if bytes(memoryview(message.content)[:1]) == b"[":
            yield from _decode_list(message.content)
