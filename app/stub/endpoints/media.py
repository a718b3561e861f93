"""Pictures, sounds and what is heard in them: small files that decode, and nothing in them."""

import base64
import hashlib
import io
import struct
import wave
import zlib
from collections.abc import Mapping
from typing import Any

from app.stub.dialects.base import Refused
from app.stub.endpoints.small import File, Made

_MAX_PICTURES = 10
_PICTURE_PIXELS = 16
_RATE_HZ = 24_000
_SPEECH_S = 0.25
_MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG-1 layer III, 128 kbit/s: 26 ms of silence


def images(body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request for pictures: of one colour, which the prompt decides."""
    prompt = body.get("prompt")
    count = body.get("n") or 1
    if not isinstance(prompt, str) or not prompt:
        raise Refused("'prompt' must not be empty.")
    if not isinstance(count, int) or not 0 < count <= _MAX_PICTURES:
        raise Refused(f"'n' must be from 1 to {_MAX_PICTURES}.")
    data = []
    for index in range(count):
        colour = hashlib.sha256(f"{index}\n{prompt}".encode("utf-8", "replace")).digest()[:3]
        if body.get("response_format") == "url":
            data.append({"url": f"https://example.com/simulated-{colour.hex()}.png"})
        else:
            data.append({"b64_json": base64.b64encode(_png(colour)).decode()})
    n_tokens = (len(prompt) + 3) // 4
    usage = {
        "input_tokens": n_tokens,
        "output_tokens": 256 * count,
        "total_tokens": n_tokens + 256 * count,
        "input_tokens_details": {"text_tokens": n_tokens, "image_tokens": 0},
    }
    return {"created": 0, "data": data, "usage": usage}


def speech(body: Mapping[str, Any]) -> Made:
    """Answer a request to read a text aloud: with silence."""
    if not isinstance(body.get("input"), str) or not body["input"]:
        raise Refused("'input' must not be empty.")
    silence = bytes(2 * int(_RATE_HZ * _SPEECH_S))
    match body.get("response_format") or "mp3":
        case "mp3":
            return File(b"audio/mpeg", _MP3_FRAME * 10)
        case "wav":
            return File(b"audio/wav", _wav(silence))
        case "pcm":
            return File(b"audio/pcm", silence)
        case _:
            raise Refused("This simulated model speaks mp3, wav and pcm only.")


def transcriptions(body: Mapping[str, Any]) -> Made:
    """Answer a request to write down what is said in a file."""
    file = body.get("file")
    if not isinstance(file, dict) or not file["bytes"]:
        raise Refused("'file' must be a file that is not empty.")
    text = f"This is a simulated transcription of {file['file']}, no model heard it."
    match body.get("response_format") or "json":
        case "json":
            return {"text": text, "usage": {"type": "duration", "seconds": 1}}
        case "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": 1.0, "text": text}
            told = {"task": "transcribe", "language": body.get("language") or "english"}
            return {**told, "duration": 1.0, "text": text, "segments": [segment]}
        case "text":
            return File(b"text/plain; charset=utf-8", f"{text}\n".encode())
        case "srt":
            return File(
                b"text/plain; charset=utf-8",
                f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n".encode(),
            )
        case "vtt":
            cue = f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n"
            return File(b"text/vtt; charset=utf-8", cue.encode())
        case _:
            raise Refused("'response_format' must be json, verbose_json, text, srt or vtt.")


def _png(colour: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", _PICTURE_PIXELS, _PICTURE_PIXELS, 8, 2, 0, 0, 0)
    rows = (b"\0" + colour * _PICTURE_PIXELS) * _PICTURE_PIXELS
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE_HZ)
        sound.writeframes(samples)
    return file.getvalue()
