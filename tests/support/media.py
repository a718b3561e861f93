"""Small pictures, recordings and files: true headers, and next to nothing behind them."""

import base64
import struct
import zlib


def png(width, height):
    """Return a picture of one colour."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = b"\0" * (1 + -(-width // 8))
    data = zlib.compress(row * min(height, 64), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width, height):
    """Return the head of a GIF."""
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0" * 20


def jpeg(width, height, *, metadata_bytes=0):
    """Return the head of a JPEG, with so much metadata before the frame."""
    segments = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    while metadata_bytes > 0:
        n_bytes = min(metadata_bytes, 65_533)
        segments += b"\xff\xe1" + struct.pack(">H", n_bytes + 2) + b"\xa5" * n_bytes
        metadata_bytes -= n_bytes
    frame = b"\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + b"\3" + b"\1\x11\0" * 3
    return b"\xff\xd8" + segments + b"\xff" + frame + b"\xff\xda\0\x0c" + b"\0" * 20


def webp(width, height, *, kind=b"VP8 "):
    """Return the head of a WebP of one of its three kinds."""
    body = {
        b"VP8 ": b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        b"VP8X": b"\0\0\0\0"
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little"),
    }[kind] + b"\0" * 16
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def wav(seconds, *, rate_hz=16_000, told=True):
    """Return a recording of silence: mono, 16 bits; `told` says whether its head knows how long."""
    n_bytes = int(seconds * rate_hz) * 2
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, rate_hz * 2, 2, 16)
    head = b"LIST\4\0\0\0INFO" + b"fmt \x10\0\0\0" + form
    data = b"data" + struct.pack("<I", n_bytes if told else 0xFFFFFFFF) + b"\0" * n_bytes
    return b"RIFF" + struct.pack("<I", len(head) + len(data) + 4) + b"WAVE" + head + data


def mp3(seconds, *, id3_bytes=0, xing=False):
    """Return frames of layer III at 64 kbit/s and 44.1 kHz, one channel."""
    n_bytes = int(seconds * 8_000)
    tag = b""
    if id3_bytes:
        size = bytes(id3_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
        tag = b"ID3\4\0\0" + size + b"\0" * id3_bytes
    frame = b"\xff\xfb\x50\xc0" + b"\0" * 17
    if xing:  # which tells of frames that are not there
        return (
            tag
            + frame
            + b"Xing\0\0\0\1"
            + struct.pack(">I", round(seconds * 44_100 / 1_152))
            + b"\0" * 400
        )
    return tag + frame + b"\0" * max(0, n_bytes - len(frame))


def flac(seconds, *, rate_hz=44_100):
    """Return the head of a FLAC."""
    told = (rate_hz << 44 | 0 << 41 | 15 << 36 | int(seconds * rate_hz)).to_bytes(8)
    return b"fLaC\0\0\0\x22" + b"\x10\0\x10\0" + b"\0" * 6 + told + b"\0" * 16


def pdf(n_pages, *, linearized=False):
    """Return a PDF that tells its pages at one of its ends."""
    head = b"%PDF-1.7\n"
    if linearized:
        head += b"1 0 obj << /Linearized 1 /L 900 /O 5 /E 800 /N %d /T 700 >> endobj\n" % n_pages
        return head + b"x" * 2_000
    branch = b"4 0 obj << /Type /Pages /Parent 2 0 R /Count 1 >> endobj\n"
    root = b"2 0 obj << /Type /Pages /Kids [4 0 R] /Count %d >> endobj\n" % n_pages
    return head + b"x" * 2_000 + branch + root + b"trailer << /Root 1 0 R >>\n%%EOF"


def inline(data):
    """Return bytes as base64 text."""
    return base64.b64encode(data).decode()


def data_url(data, media_type="image/png"):
    """Return bytes as an address that holds them."""
    return f"data:{media_type};base64,{inline(data)}"


def picture_part(data, *, detail=None, media_type="image/png"):
    """Return a part of a chat message that is a picture."""
    image = {"url": data if isinstance(data, str) else data_url(data, media_type)}
    return {
        "type": "image_url",
        "image_url": image | ({} if detail is None else {"detail": detail}),
    }
