"""What the parts of messages that are no text ask of a model, and what they count for.

How many tokens a picture, a recording or a file comes to is the model's own affair, and of a part
that only names an address nobody knows its size. What is counted here is stated, and cautious.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from routers.types import Capability

_NULL = msgspec.Raw(b"null")
_TEXT_TYPES = frozenset({"text", "refusal"})
"""Their text is part of the conversation, and counted with it."""

_IMAGE_TOKENS = {"low": 85}
_IMAGE_TOKENS_DEFAULT = 765
"""What a 1024 x 1024 picture at high detail counts for."""

_BYTES_PER_JSON_TOKEN, _BYTES_PER_JSON_TOKEN_UPPER = 4, 3
"""Of JSON a token covers about four bytes; three is cautious."""


class Part(msgspec.Struct):
    """One part of a message, as far as it is looked into."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: msgspec.Raw = _NULL


class _Detail(msgspec.Struct):
    detail: str | None = None


class _Contents(msgspec.Struct):
    content: msgspec.Raw = _NULL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What one kind of part needs, and how its size becomes tokens."""

    capability: Capability
    bytes_per_token: int
    tokens_elsewhere: int
    """Assumed where the part names an address or an id."""


_IMAGE = _Kind(
    capability=Capability.VISION, bytes_per_token=1_000, tokens_elsewhere=_IMAGE_TOKENS_DEFAULT
)
_AUDIO = _Kind(capability=Capability.AUDIO, bytes_per_token=250, tokens_elsewhere=5_000)
_FILE = _Kind(capability=Capability.FILE, bytes_per_token=64, tokens_elsewhere=10_000)
_VIDEO = _Kind(capability=Capability.VIDEO, bytes_per_token=1_000, tokens_elsewhere=20_000)
_KINDS: Mapping[str, _Kind] = {
    "image": _IMAGE,
    "image_file": _IMAGE,
    "input_image": _IMAGE,
    "input_audio": _AUDIO,
    "audio": _AUDIO,
    "audio_url": _AUDIO,
    "file": _FILE,
    "input_file": _FILE,
    "file_url": _FILE,
    "document": _FILE,
    "document_url": _FILE,
    "video": _VIDEO,
    "video_url": _VIDEO,
    "input_video": _VIDEO,
}
"""By OpenAI's name of the type and by those of other dialects that clients send."""

_INLINE_HINTS = (b";base64,", b'"data"', b'"file_data"')
_TEXT_HINTS = (b"data:text/", b'"text/', b"data:application/json", b'"application/json"')
_HEAD_BYTES = 4_096
"""How far into a part its media type is looked for."""

_decode_messages = msgspec.json.Decoder(list[_Contents]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_detail = msgspec.json.Decoder(_Detail).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """What the parts of a request that are no text come to."""

    tokens: int = 0
    tokens_upper: int = 0
    capabilities: frozenset[Capability] = frozenset()


NO_ATTACHMENTS = Attachments()


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
    if all(part.type in _TEXT_TYPES for part in parts):
        return NO_ATTACHMENTS
    tokens = upper = 0
    needs: set[Capability] = set()
    if not all(part.type in _TEXT_TYPES or part.type == "image_url" for part in parts):
        for part, raw in zip(parts, _raw_parts(messages), strict=True):
            if part.type not in _TEXT_TYPES and part.type != "image_url":
                more, more_upper = _count(part.type, bytes(raw))
                tokens, upper = tokens + more, upper + more_upper
                if part.type in _KINDS:
                    needs.add(_KINDS[part.type].capability)
    images = [_image_tokens(part) for part in parts if part.type == "image_url"]
    if images:
        needs.add(Capability.VISION)
    return Attachments(
        tokens=tokens + sum(images),
        tokens_upper=upper + 2 * sum(images),
        capabilities=frozenset(needs),
    )


def attachment(kind_name: str, raw: bytes) -> Attachments:
    """Return what one part comes to, or the source of one."""
    tokens, tokens_upper = _count(kind_name, raw)
    kind = _KINDS.get(kind_name)
    needs = frozenset() if kind is None else frozenset({kind.capability})
    return Attachments(tokens=tokens, tokens_upper=tokens_upper, capabilities=needs)


def json_tokens(n_bytes: int) -> tuple[int, int]:
    """Return about how many tokens so much JSON has, and how many at most."""
    return n_bytes // _BYTES_PER_JSON_TOKEN, n_bytes // _BYTES_PER_JSON_TOKEN_UPPER


def _raw_parts(messages: msgspec.Raw) -> Iterator[msgspec.Raw]:
    for message in _decode_messages(messages):
        if bytes(memoryview(message.content)[:1]) == b"[":
            yield from _decode_list(message.content)


def _count(kind_name: str, raw: bytes) -> tuple[int, int]:
    kind = _KINDS.get(kind_name)
    if kind is None:
        return json_tokens(len(raw))  # what it is nobody knows: it may all be read
    if not _any_in(_INLINE_HINTS, raw):
        return kind.tokens_elsewhere, 2 * kind.tokens_elsewhere
    n_bytes = len(raw) * 3 // 4
    if kind is _FILE and _any_in(_TEXT_HINTS, raw[:_HEAD_BYTES]):
        return json_tokens(n_bytes)
    if kind is _IMAGE:
        return _IMAGE_TOKENS_DEFAULT, 2 * _IMAGE_TOKENS_DEFAULT  # it is scaled, whatever its size
    tokens = n_bytes // kind.bytes_per_token + 1
    return tokens, 2 * tokens


def _any_in(hints: Iterable[bytes], raw: bytes) -> bool:
    return any(hint in raw for hint in hints)


def _image_tokens(part: Part) -> int:
    try:
        detail = _decode_detail(part.image_url).detail
    except (msgspec.DecodeError, RecursionError):
        detail = None
    return _IMAGE_TOKENS.get(detail or "", _IMAGE_TOKENS_DEFAULT)
