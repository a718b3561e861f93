"""OpenAI's messages as Anthropic's system prompt and alternating turns."""

import re
from typing import Any, NoReturn

import msgspec

from app.errors import UpstreamUnsupportedError

_NULL = msgspec.Raw(b"null")
_DATA_URL = re.compile(r"data:([a-zA-Z0-9.+-]+/[a-zA-Z0-9.+-]+);base64,", re.IGNORECASE)
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGE_TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})

Blocks = list[dict[str, Any]]


class _ImageUrl(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | None = None
    file: _File | None = None
    cache_control: msgspec.Raw = _NULL


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    id: str
    type: str = "function"
    function: _Function | None = None


class _Message(msgspec.Struct):
    """One message; `name` and `reasoning_content` are read by nobody.

    Anthropic has no names, and thinking without its signature is not accepted back;
    `thinking_blocks` carry it.
    """

    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    thinking_blocks: list[msgspec.Raw] | None = None
    function_call: msgspec.Raw = _NULL
    audio: msgspec.Raw = _NULL


_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_turns(raw: bytes) -> tuple[Blocks, Blocks]:
    """Return the system prompt's blocks and the turns, each user's or assistant's in one.

    System and developer messages, wherever they stand, become the system prompt in their order;
    tool results become blocks of the user's turn.

    Raises
    ------
    UpstreamUnsupportedError
        For content that Anthropic's API has no block for.
    """
    try:
        messages = _decode_messages(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamUnsupportedError(
            f"messages cannot be read: {error}", param="messages"
        ) from error
    system: Blocks = []
    turns: Blocks = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        match message.role:
            case "system" | "developer":
                system += _blocks(message, where)
            case "user":
                _append(turns, "user", _blocks(message, where))
            case "assistant":
                _append(turns, "assistant", _assistant(message, where))
            case "tool":
                _append(turns, "user", [_tool_result(message, where)])
            case _:
                _refuse(f"role {message.role} is not supported by Anthropic models", where)
    return system, turns


def _append(turns: Blocks, role: str, blocks: Blocks) -> None:
    if not blocks:
        return  # a message without content is none to Anthropic
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _assistant(message: _Message, where: str) -> Blocks:
    if message.function_call != _NULL or message.audio != _NULL:
        _refuse("neither function_call nor audio is supported by Anthropic models", where)
    # Signed thinking comes first, exactly as it was given out: its signature covers it.
    blocks: list[Any] = list(message.thinking_blocks or ())
    blocks += _blocks(message, where)
    for call in message.tool_calls or ():
        if call.function is None:
            _refuse(f"tool calls of type {call.type} are not supported by Anthropic models", where)
        blocks.append(
            {
                "type": "tool_use",
                "id": _tool_id(call.id),
                "name": call.function.name,
                "input": _arguments(call.function.arguments, where),
            }
        )
    return blocks


def _tool_result(message: _Message, where: str) -> dict[str, Any]:
    if message.tool_call_id is None:
        _refuse("a tool message needs a tool_call_id", where)
    return {
        "type": "tool_result",
        "tool_use_id": _tool_id(message.tool_call_id),
        "content": _blocks(message, where),
    }


def _tool_id(call_id: str) -> str:
    """Keep to the characters that Anthropic allows; other servers' ids may hold more."""
    return _NOT_IN_AN_ID.sub("_", call_id)


def _arguments(arguments: str, where: str) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        _refuse("the arguments of a tool call must be a JSON object", where)


def _blocks(message: _Message, where: str) -> Blocks:
    content = message.content
    if isinstance(content, list):
        return [block for part in content if (block := _block(part, where)) is not None]
    text = content or message.refusal
    return [{"type": "text", "text": text}] if text else []


def _block(part: _Part, where: str) -> dict[str, Any] | None:
    block: dict[str, Any]
    match part.type:
        case "text" | "refusal":
            text = part.text or part.refusal
            if not text:
                return None  # Anthropic refuses empty blocks of text
            block = {"type": "text", "text": text}
        case "image_url" if part.image_url is not None:
            block = {"type": "image", "source": _image(part.image_url.url, where)}
        case "file" if part.file is not None:
            block = _document(part.file, where)
        case _:
            _refuse(f"content of type {part.type} is not supported by Anthropic models", where)
    if part.cache_control != _NULL:
        block["cache_control"] = part.cache_control
    return block


def _image(url: str, where: str) -> dict[str, str]:
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    media_type, data = _data_url(url)
    if media_type not in _IMAGE_TYPES:
        _refuse(
            "Anthropic models take images as https addresses or as base64 data of the types "
            + ", ".join(sorted(_IMAGE_TYPES)),
            where,
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: _File, where: str) -> dict[str, Any]:
    media_type, data = _data_url(file.file_data or "")
    if media_type != "application/pdf":
        _refuse("Anthropic models take files as base64 data of the type application/pdf", where)
    block: dict[str, Any] = {
        "type": "document",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }
    if file.filename:
        block["title"] = file.filename
    return block


def _data_url(url: str) -> tuple[str, str]:
    found = _DATA_URL.match(url)
    return (found[1].lower(), url[found.end() :]) if found else ("", "")


def _refuse(message: str, where: str) -> NoReturn:
    raise UpstreamUnsupportedError(f"{where}: {message}", param="messages")
