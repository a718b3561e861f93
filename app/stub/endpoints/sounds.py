"""Sounds and what is heard in them: small files that decode, and nothing in them."""

import io
import re
import wave
from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.dialects.base import Refused
from app.stub.endpoints.small import Event, File, Made, asks_to_stream

_RATE_HZ = 24_000
_SPEECH_S = 0.25
_HEARD_TOKENS = 10
_MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG-1 layer III, 128 kbit/s: 26 ms of silence
_WORD = re.compile(r"\s*\S+")


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
    text = f"This is a simulated transcription of {_heard(body)}, no model heard it."
    if asks_to_stream(body):
        return list(_events(text))
    return _written(text, body, task="transcribe", language=body.get("language") or "english")


def translations(body: Mapping[str, Any]) -> Made:
    """Answer a request to write down in English what is said in a file."""
    text = f"This is a simulated translation of {_heard(body)}, no model heard it."
    return _written(text, body, task="translate", language="english")


def _heard(body: Mapping[str, Any]) -> str:
    """Return the name of the file."""
    file = body.get("file")
    if not isinstance(file, dict) or not file["bytes"]:
        raise Refused("'file' must be a file that is not empty.")
    return str(file["file"])


def _written(text: str, body: Mapping[str, Any], *, task: str, language: str) -> Made:
    match body.get("response_format") or "json":
        case "json":
            return {"text": text, "usage": {"type": "duration", "seconds": 1}}
        case "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": 1.0, "text": text}
            told = {"task": task, "language": language}
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


def _events(text: str) -> Iterator[Event]:
    words = _WORD.findall(text)
    for word in words:
        name = "transcript.text.delta"
        yield Event(name, {"type": name, "delta": word})
    usage = {
        "type": "tokens",
        "input_tokens": _HEARD_TOKENS,
        "input_token_details": {"text_tokens": 0, "audio_tokens": _HEARD_TOKENS},
        "output_tokens": len(words),
        "total_tokens": _HEARD_TOKENS + len(words),
    }
    name = "transcript.text.done"
    yield Event(name, {"type": name, "text": text, "usage": usage})


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE_HZ)
        sound.writeframes(samples)
    return file.getvalue()
