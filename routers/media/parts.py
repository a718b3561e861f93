"""The parts of messages that are no text: what each asks of a model, and what it comes to.

How many tokens a picture, a recording or a file comes to is the model's own affair
(`routers.media.tokens`). What is counted here is what stands for it where nothing is known of the
model; of a part that only names an address nobody knows its size, and nothing is fetched.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from routers.media.inline import InlineBytes
from routers.media.pictures import picture_size
from routers.media.recordings import pdf_pages, recording_seconds
from routers.media.tokens import neutral_picture
from routers.media.values import Item, Media, Paper, Picture, Recording
from routers.models import Capability

T = TypeVar("T")

TEXT_TYPES = frozenset({"text", "refusal"})
"""Their text is part of the conversation, and counted with it."""

_BYTES_PER_JSON_TOKEN, _BYTES_PER_JSON_TOKEN_UPPER = 4, 3
"""Of JSON a token covers about four bytes; three is cautious."""

MAX_LOOKED_INTO = 64
"""Of so many items of a request the headers are read; of further ones nothing is known."""


class _Detail(msgspec.Struct):
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What one kind of part needs, and how its size becomes tokens."""

    capability: Capability
    bytes_per_token: int
    tokens_elsewhere: int
    """Assumed where the part names an address or an id."""


_IMAGE = _Kind(capability=Capability.VISION, bytes_per_token=1_000, tokens_elsewhere=765)
_AUDIO = _Kind(capability=Capability.AUDIO, bytes_per_token=250, tokens_elsewhere=5_000)
_FILE = _Kind(capability=Capability.FILE, bytes_per_token=64, tokens_elsewhere=10_000)
_VIDEO = _Kind(capability=Capability.VIDEO, bytes_per_token=1_000, tokens_elsewhere=20_000)
_KINDS: Mapping[str, _Kind] = {
    "image": _IMAGE,
    "image_url": _IMAGE,
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
_BASE64 = re.compile(rb';base64,|"(?:data|file_data)"\s*:\s*"(?!data:)')
_DETAILS = frozenset({"low", "high", "original", "auto"})

_decode_detail = msgspec.json.Decoder(_Detail).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """What the parts of a request that are no text come to."""

    tokens: int = 0
    tokens_upper: int = 0
    capabilities: frozenset[Capability] = frozenset()
    media: Media | None = None
    """What of it models count by rules of their own; `tokens` has it as for any model."""

    @classmethod
    def of(cls, found: Iterable["Attached"]) -> "Attachments":
        """Add up what there is."""
        every = tuple(found)
        if not every:
            return NO_ATTACHMENTS
        return cls(
            tokens=sum([each.tokens for each in every]),
            tokens_upper=sum([each.tokens_upper for each in every]),
            capabilities=frozenset([each.needs for each in every if each.needs is not None]),
            media=Media.of([each.item for each in every if each.item is not None]),
        )


NO_ATTACHMENTS = Attachments()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What one part that is no text comes to."""

    tokens: int
    tokens_upper: int
    needs: Capability | None = None
    item: Item | None = None


def json_tokens(n_bytes: int) -> tuple[int, int]:
    """Return about how many tokens so much JSON has, and how many at most."""
    return n_bytes // _BYTES_PER_JSON_TOKEN, n_bytes // _BYTES_PER_JSON_TOKEN_UPPER


class Looked:
    """Looks into the parts of one request, as far as is worth it for one."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_LOOKED_INTO

    def picture(self, raw: msgspec.Raw) -> Attached:
        """Return what a picture in OpenAI's way comes to, by its `image_url`."""
        try:
            detail = _decode_detail(raw).detail
        except (msgspec.DecodeError, RecursionError):
            detail = None
        return self._picture(memoryview(raw), detail)

    def into(self, kind_name: str, raw: bytes) -> Attached:
        """Return what one part comes to, or the source of one."""
        kind = _KINDS.get(kind_name)
        if kind is None:
            tokens, upper = json_tokens(len(raw))  # what it is nobody knows: it may all be read
            return Attached(tokens=tokens, tokens_upper=upper)
        if kind is _IMAGE:
            try:
                detail = _decode_detail(raw).detail
            except (msgspec.DecodeError, RecursionError):
                detail = None
            return self._picture(raw, detail)
        tokens, upper = _count(kind, raw)
        if kind is _AUDIO:
            seconds = self._read(raw, recording_seconds)
            item: Item = Recording(tokens=tokens, tokens_upper=upper, seconds=seconds)
        elif kind is _FILE:
            pages = self._read(raw, pdf_pages)
            item = Paper(tokens=tokens, tokens_upper=upper, pages=pages)
        else:
            return Attached(tokens=tokens, tokens_upper=upper, needs=kind.capability)
        return Attached(tokens=tokens, tokens_upper=upper, needs=kind.capability, item=item)

    def _picture(self, raw: bytes | memoryview, detail: str | None) -> Attached:
        detail = detail if detail in _DETAILS else None
        size = self._read(raw, picture_size)
        tokens, upper = neutral_picture(size, detail)
        width_px, height_px = size or (None, None)
        picture = Picture(
            tokens=tokens,
            tokens_upper=upper,
            width_px=width_px,
            height_px=height_px,
            detail=detail,
        )
        return Attached(tokens=tokens, tokens_upper=upper, needs=_IMAGE.capability, item=picture)

    def _read(self, raw: bytes | memoryview, what: Callable[[InlineBytes], T | None]) -> T | None:
        """Return what the bytes that a part holds tell of themselves."""
        found = _BASE64.search(raw[:_HEAD_BYTES])
        if found is None or not self._left:
            return None
        self._left -= 1
        return what(InlineBytes(_until_quote(raw, found.end())))


def _until_quote(raw: bytes | memoryview, start: int) -> bytes | memoryview:
    # Of pictures, which come as views, the beginning alone is looked at.
    end = raw.find(b'"', start) if isinstance(raw, bytes) else -1
    return raw[start:] if end < 0 else raw[start:end]


def _count(kind: _Kind, raw: bytes) -> tuple[int, int]:
    if not _any_in(_INLINE_HINTS, raw):
        return kind.tokens_elsewhere, 2 * kind.tokens_elsewhere
    n_bytes = len(raw) * 3 // 4
    if kind is _FILE and _any_in(_TEXT_HINTS, raw[:_HEAD_BYTES]):
        return json_tokens(n_bytes)
    tokens = n_bytes // kind.bytes_per_token + 1
    return tokens, 2 * tokens


def _any_in(hints: Iterable[bytes], raw: bytes) -> bool:
    return any(hint in raw for hint in hints)
