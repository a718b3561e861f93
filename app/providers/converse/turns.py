"""What is in a turn, as Bedrock's Converse has it: blocks.

References
----------
AWS, "Converse" and "ContentBlock", docs.aws.amazon.com/bedrock/latest/APIReference.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from app.providers.translation.history import NOT_ANSWERED, Call, Message, Speech, ToolCall
from app.providers.translation.parts import (
    NULL,
    Blocks,
    File,
    InputAudio,
    Part,
    typed_data,
    unsupported_content,
)
from app.wire.decoding import DECODE_ERRORS

VENDOR = "Bedrock models"

_IMAGES = {"image/gif": "gif", "image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_AUDIO = frozenset({"aac", "flac", "mp3", "opus", "pcm", "wav"})
_NOT_IN_A_DOCUMENT_NAME = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+")
_NO_CONTENT = "(no content)"
_BESIDE_A_DOCUMENT = "(The documents are attached.)"
"""A turn with documents must have a text."""


class _ThinkingBlock(msgspec.Struct):
    type: str = ""
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Mark(msgspec.Struct):
    ttl: str | None = None


_decode_thinking = msgspec.json.Decoder(_ThinkingBlock).decode
_decode_mark = msgspec.json.Decoder(_Mark).decode


class BedrockSpeech(Speech):
    """Blocks of Converse's."""

    vendor = VENDOR
    max_id_chars = 64
    max_name_chars = 64

    def content(
        self, content: str | list[Part] | None, where: str, *, text_only: str | None = None
    ) -> Blocks:
        """Return the blocks of a message's content."""
        if not isinstance(content, list):
            return self.text(content)
        blocks: Blocks = []
        for part in content:
            if part.type in ("text", "refusal"):
                blocks += self.text(part.text or part.refusal)
            elif text_only is not None:
                raise unsupported_content(f"{VENDOR} take text alone from {text_only}", where)
            else:
                blocks.append(_media(part, where))
            self.mark(blocks, part.cache_control)
        return blocks

    def text(self, text: str | None) -> Blocks:
        """Return the block of a text."""
        return [{"text": text}] if text and not text.isspace() else []

    def spoken(self, message: Message, said: Blocks) -> Blocks:
        """Return what the model said, after its signed thinking."""
        thinking = map(_reasoning, message.thinking_blocks or ())
        return [*(block for block in thinking if block is not None), *said]

    def call(
        self,
        call: Call,
        arguments: dict[str, Any] | msgspec.Raw,
        told: ToolCall,  # noqa: ARG002  (all is in `call`)
    ) -> Blocks:
        """Return the block of a call."""
        return [{"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments}}]

    def result(self, call: Call) -> Blocks:
        """Return the block of a call's result."""
        result: dict[str, Any] = {"toolUseId": call.id}
        if call.content is None:
            result |= {"content": self.text(NOT_ANSWERED), "status": "error"}
        else:
            # Marks of the cache stand between blocks, and not in here.
            inside = [block for block in call.content if "cachePoint" not in block]
            result["content"] = inside or self.text(_NO_CONTENT)
        return [{"toolResult": result}]

    def mark(self, blocks: Blocks, mark: msgspec.Raw) -> None:
        """Put a mark of the prompt's cache behind what there is."""
        if mark == NULL or not blocks or "cachePoint" in blocks[-1]:
            return
        blocks.append(cache_point(mark))


class TextOfTools(BedrockSpeech):
    """The same for a request without tools: there Converse refuses blocks of calls and results."""

    def call(
        self,
        call: Call,
        arguments: dict[str, Any] | msgspec.Raw,
        told: ToolCall,  # noqa: ARG002  (all is in `call`)
    ) -> Blocks:
        """Return a call in words."""
        told_arguments = msgspec.json.encode(arguments).decode()
        return self.text(f"[Called the tool {call.name} with {told_arguments}]")

    def result(self, call: Call) -> Blocks:
        """Return a result in words, and behind it what is no text."""
        return [
            *self.text(f"[The tool {call.name} answered:]"),
            *(self.text(NOT_ANSWERED) if call.content is None else call.content),
        ]


def messages(turns: Iterable[tuple[str, Blocks]]) -> list[dict[str, Any]]:
    """Return the turns of a conversation."""
    told = []
    for role, blocks in turns:
        documents = any("document" in block for block in blocks)
        if documents and not any("text" in block for block in blocks):
            blocks.append({"text": _BESIDE_A_DOCUMENT})
        told.append({"role": role, "content": blocks})
    return told


def cache_point(mark: msgspec.Raw) -> dict[str, Any]:
    """Return a mark of the prompt's cache."""
    try:
        ttl = _decode_mark(mark).ttl
    except DECODE_ERRORS:
        ttl = None
    return {"cachePoint": {"type": "default"} if ttl is None else {"type": "default", "ttl": ttl}}


def _reasoning(raw: msgspec.Raw) -> dict[str, Any] | None:
    """Return a block of thinking; None for one without its seal, which is refused."""
    try:
        block = _decode_thinking(raw)
    except DECODE_ERRORS:
        return None
    if block.type == "redacted_thinking" and block.data:
        return {"reasoningContent": {"redactedContent": block.data}}
    if block.type == "thinking" and block.signature:
        told = {"text": block.thinking or "", "signature": block.signature}
        return {"reasoningContent": {"reasoningText": told}}
    return None


def _media(part: Part, where: str) -> dict[str, Any]:
    address = part.image_address
    if address is not None:
        return {"image": _image(address, where)}
    if part.type == "file" and part.file is not None:
        return {"document": _document(part.file, where)}
    if part.type == "input_audio" and part.input_audio is not None:
        return {"audio": _audio(part.input_audio, where)}
    raise unsupported_content(f"content of type {part.type} is not supported by {VENDOR}", where)


def _image(address: str, where: str) -> dict[str, Any]:
    if address.startswith("s3://"):
        ending = address.rpartition(".")[2].lower().replace("jpg", "jpeg")
        if ending in _IMAGES.values():
            return {"format": ending, "source": {"s3Location": {"uri": address}}}
    media_type, data = typed_data(address)
    if media_type not in _IMAGES:
        raise unsupported_content(
            f"{VENDOR} take images as s3 addresses or as base64 data of the types "
            + ", ".join(_IMAGES),
            where,
        )
    return {"format": _IMAGES[media_type], "source": {"bytes": data}}


def _document(file: File, where: str) -> dict[str, Any]:
    media_type, data = typed_data(file.file_data or "")
    if media_type not in _DOCUMENTS:
        raise unsupported_content(
            f"{VENDOR} take files as base64 data of the types " + ", ".join(_DOCUMENTS), where
        )
    name = _NOT_IN_A_DOCUMENT_NAME.sub(" ", (file.filename or "")[:200])
    return {
        "format": _DOCUMENTS[media_type],
        "name": " ".join(name.split()) or "document",
        "source": {"bytes": data},
    }


def _audio(audio: InputAudio, where: str) -> dict[str, Any]:
    if audio.format not in _AUDIO:
        raise unsupported_content(f"audio of this format is not supported by {VENDOR}", where)
    return {"format": audio.format, "source": {"bytes": audio.data}}
