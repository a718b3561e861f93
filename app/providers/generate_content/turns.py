"""What is in a turn, as Gemini's `generateContent` has it: parts.

References
----------
Google, "Generating content" and "Thought signatures", ai.google.dev.
"""

import mimetypes
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.providers.translation.history import NOT_ANSWERED, Call, Message, Speech, ToolCall
from app.providers.translation.parts import (
    Blocks,
    File,
    InputAudio,
    Part,
    is_address,
    typed_data,
    unsupported_content,
)

VENDOR = "Gemini models"

SKIP_VALIDATION = "skip_thought_signature_validator"
"""In place of the signature of a call that no Gemini model made, or whose signature got lost on the
way through a client: the models from 3 on refuse calls without any."""

_AUDIO_TYPES = {"mp3": "audio/mp3", "wav": "audio/wav"}
_A_GUESS = "image/jpeg"
"""The type of an address that does not tell it: most are of images."""
_FILE_TYPES = ("application/", "audio/", "image/", "text/", "video/")


class GeminiSpeech(Speech):
    """Parts of Gemini's."""

    vendor = VENDOR
    not_in_a_name = re.compile(r"[^a-zA-Z0-9_.:-]")

    def content(
        self, content: str | list[Part] | None, where: str, *, text_only: str | None = None
    ) -> Blocks:
        """Return the parts of a message's content."""
        if not isinstance(content, list):
            return self.text(content)
        parts: Blocks = []
        for each in content:
            if each.type in ("text", "refusal"):
                parts += self.text(each.text or each.refusal)
            elif text_only is not None:
                raise unsupported_content(f"{VENDOR} take text alone from {text_only}", where)
            else:
                parts.append(_media(each, where))
        return parts

    def text(self, text: str | None) -> Blocks:
        """Return the part of a text."""
        return [{"text": text}] if text and not text.isspace() else []

    def spoken(self, message: Message, said: Blocks) -> Blocks:
        """Return what the model said, and behind it the seal on what it had thought."""
        signature = message.thought_signature
        return [*said, {"text": "", "thoughtSignature": signature}] if signature else said

    def call(self, call: Call, arguments: dict[str, Any] | msgspec.Raw, told: ToolCall) -> Blocks:
        """Return the part of a call."""
        part: dict[str, Any] = {
            "functionCall": {"id": call.id, "name": call.name, "args": arguments}
        }
        if told.thought_signature:
            part["thoughtSignature"] = told.thought_signature
        return [part]

    def result(self, call: Call) -> Blocks:
        """Return the part of a call's result, and behind it what is no text in it."""
        content = call.content
        texts = [each["text"] for each in content or () if "text" in each]
        told = {"error": NOT_ANSWERED} if content is None else {"output": "\n".join(texts)}
        response = {"id": call.id, "name": call.name, "response": told}
        return [
            {"functionResponse": response},
            *(each for each in content or () if "text" not in each),
        ]


def contents(turns: Iterable[tuple[str, Blocks]], *, signed_calls: bool) -> list[dict[str, Any]]:
    """Return the turns of a conversation.

    Parameters
    ----------
    signed_calls
        Whether the model refuses calls without a signature.
    """
    told = []
    for role, parts in turns:
        if role == "assistant":
            if signed_calls:
                _sign(parts)
            told.append({"role": "model", "parts": parts})
        else:
            # As many results as calls, side by side; what else came with them follows.
            ordered = sorted(parts, key=lambda part: "functionResponse" not in part)
            told.append({"role": "user", "parts": ordered})
    return told


def _sign(parts: Blocks) -> None:
    """See that the first call of a turn has a signature; those beside it need none."""
    calls = [part for part in parts if "functionCall" in part]
    if calls and not any("thoughtSignature" in part for part in calls):
        calls[0]["thoughtSignature"] = SKIP_VALIDATION


def _media(part: Part, where: str) -> dict[str, Any]:
    address = part.image_address
    if address is not None:
        return _image(address, where)
    if part.type == "file" and part.file is not None:
        return _file(part.file, where)
    if part.type == "input_audio" and part.input_audio is not None:
        return _audio(part.input_audio, where)
    raise unsupported_content(f"content of type {part.type} is not supported by {VENDOR}", where)


def _image(address: str, where: str) -> dict[str, Any]:
    if is_address(address) or address.startswith("gs://"):
        return _at(address)
    media_type, data = typed_data(address)
    if not media_type.startswith("image/"):
        raise unsupported_content(
            f"{VENDOR} take images as https or gs addresses or as base64 data", where
        )
    return _inline(media_type, data)


def _file(file: File, where: str) -> dict[str, Any]:
    address = file.file_id or ""
    if is_address(address) or address.startswith("gs://"):
        return _at(address)
    media_type, data = typed_data(file.file_data or "")
    if not media_type.startswith(_FILE_TYPES):
        raise unsupported_content(
            f"{VENDOR} take files as base64 data with their type, or as https or gs addresses",
            where,
        )
    return _inline(media_type, data)


def _audio(audio: InputAudio, where: str) -> dict[str, Any]:
    media_type = _AUDIO_TYPES.get(audio.format)
    if media_type is None:
        raise unsupported_content(
            f"audio of this format is not supported by {VENDOR}; mp3 and wav are", where
        )
    return _inline(media_type, audio.data)


def _inline(media_type: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _at(address: str) -> dict[str, Any]:
    guessed, _ = mimetypes.guess_type(urlsplit(address).path)
    return {"fileData": {"mimeType": guessed or _A_GUESS, "fileUri": address}}
