"""How long a recording is, and how many pages a PDF has, by what their heads tell.

References
----------
Microsoft, Multimedia Programming Interface 1.0 (RIFF WAVE); ISO/IEC 11172-3 (MP3); id3.org, ID3v2;
RFC 9639 (FLAC); ISO 32000-1 7.7.3.2 and annex F (PDF).
"""

import re

from routers.media.inline import InlineBytes

MAX_SECONDS = 86_400.0
"""A day; what claims to be longer says nothing."""
MAX_PAGES = 100_000
_MAX_CHUNKS = 64
_SYNC_WITHIN_BYTES = 1_024
_UNKNOWN_SIZES = frozenset({0, 0xFFFFFFFF, 0x7FFFFFFF})
"""What a WAV is written with whose length was not known when it began."""
_PDF_HEAD_BYTES, _PDF_TAIL_BYTES = 1_024, 32_768

# By MPEG version: bits per second by index, in thousands, for layer III; samples per second.
_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_III = 1
_MONO = 3


def recording_seconds(data: InlineBytes) -> float | None:
    """Return how long a WAV, MP3 or FLAC plays; None where its head does not tell."""
    head = data.read(0, 12)
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        seconds = _wav(data)
    elif head.startswith(b"fLaC"):
        seconds = _flac(data)
    else:
        seconds = _mp3(data, head)
    if seconds is None or not 0 < seconds <= MAX_SECONDS:
        return None
    return seconds


def _wav(data: InlineBytes) -> float | None:
    bytes_per_s = 0
    offset = 12
    for _ in range(_MAX_CHUNKS):
        chunk = data.read(offset, 20)
        if len(chunk) < 8:
            return None
        size = int.from_bytes(chunk[4:8], "little")
        if chunk.startswith(b"fmt "):
            bytes_per_s = int.from_bytes(chunk[16:20], "little")
        elif chunk.startswith(b"data"):
            there = data.n_bytes - offset - 8
            n_bytes = there if size in _UNKNOWN_SIZES else min(size, there)
            return n_bytes / bytes_per_s if bytes_per_s else None
        offset += 8 + size + size % 2
    return None


def _flac(data: InlineBytes) -> float | None:
    info = data.read(18, 8)
    if len(info) < 8:
        return None
    bits = int.from_bytes(info)
    rate_hz, n_samples = bits >> 44, bits & (1 << 36) - 1
    return n_samples / rate_hz if rate_hz else None


def _mp3(data: InlineBytes, head: bytes) -> float | None:
    offset = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        size = zip(head[6:10], _SHIFTS, strict=True)
        offset = 10 + sum([(byte & 0x7F) << shift for byte, shift in size])
    elif not _is_frame(head, 0):
        return None
    window = data.read(offset, _SYNC_WITHIN_BYTES)
    at = window.find(b"\xff")
    while at >= 0:
        if _is_frame(window, at):
            return _mp3_seconds(data, offset + at, window[at : at + 48])
        at = window.find(b"\xff", at + 1)
    return None


_SHIFTS = (21, 14, 7, 0)
"""Of the four bytes of seven bits that an ID3 tag tells its size in."""


def _is_frame(window: bytes, at: int) -> bool:
    """Whether a frame of layer III begins, with a bit rate and a sample rate that there are."""
    frame = window[at : at + 4]
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return False
    version, layer = frame[1] >> 3 & 3, frame[1] >> 1 & 3
    return (
        version in _RATES_HZ
        and layer == _LAYER_III
        and 0 < frame[2] >> 4 < 15
        and frame[2] >> 2 & 3 < 3
    )


def _mp3_seconds(data: InlineBytes, offset: int, frame: bytes) -> float:
    version = frame[1] >> 3 & 3
    first = version == 3
    rate_hz = _RATES_HZ[version][frame[2] >> 2 & 3]
    samples = 1_152 if first else 576
    # What the frame tells of all others stands behind its side information.
    mono = frame[3] >> 6 == _MONO
    at = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    tag = frame[at : at + 12]
    if tag[:4] in (b"Xing", b"Info") and len(tag) == 12 and tag[7] & 1:
        return int.from_bytes(tag[8:12]) * samples / rate_hz
    kbits = _KBITS[1 if first else 2][frame[2] >> 4]
    return (data.n_bytes - offset) * 8 / (kbits * 1_000)


_LINEARIZED = re.compile(rb"/Linearized\b[^>]{0,400}?/N\s{1,4}([0-9]{1,7})")
_TREE = re.compile(rb"/Type\s{0,4}/Pages\b")
_COUNT = re.compile(rb"/Count\s{1,4}([0-9]{1,7})")


def pdf_pages(data: InlineBytes) -> int | None:
    """Return how many pages a PDF has; None where that takes reading more than its two ends."""
    head = data.read(0, _PDF_HEAD_BYTES)
    if not head.startswith(b"%PDF-"):
        return None
    found = _LINEARIZED.search(head)
    if found is not None:
        return _pages(int(found[1]))
    start = max(0, data.n_bytes - _PDF_TAIL_BYTES)
    tail = data.read(start, _PDF_TAIL_BYTES)
    if not _TREE.search(tail):
        return None
    # The root of the tree counts all pages; its branches count fewer.
    return _pages(max(map(int, _COUNT.findall(tail)), default=0))


def _pages(n_pages: int) -> int | None:
    return n_pages if 0 < n_pages <= MAX_PAGES else None
