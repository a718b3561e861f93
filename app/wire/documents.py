"""Documents of a request that do not stand in its text: declared, or attached to messages."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.wire.body import Fields
from app.wire.decoding import DECODE_ERRORS
from app.wire.envelope import decode_value
from app.wire.turns import Turn
from routers.request.declared import declared_documents
from routers.types import Document

FIELD = "documents"
"""The field of a chat completion that declares documents beside the messages."""

_HINTS = (b'"document"', b'"search_result"', b'"file"', b'"input_file"')
_TEXT_TYPES = ("text/", "application/json", "application/xml")
_MAX_FILE_CHARS = 4_000_000
"""A longer file in base64 is counted, and not read."""

_LIST: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[Any] | None)
_MESSAGE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TURNS: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def declared_in(fields: Fields) -> tuple[Document, ...]:
    """Return the documents that a chat completion declares.

    Raises
    ------
    InvalidRequestError
        If the field holds something else.
    """
    if FIELD not in fields:
        return ()
    try:
        return declared_documents(decode_value(_LIST, fields[FIELD], FIELD))
    except ValueError as error:
        raise InvalidRequestError(f"{FIELD} {error}", param=FIELD) from None


def attached_in(turns: Sequence[Turn]) -> tuple[Document, ...]:
    """Return the documents among the parts of messages; of what cannot be read without a text."""
    found: list[Document] = []
    for turn in turns:
        raw = bytes(turn.content)
        if raw[:1] == b"[" and any(hint in raw for hint in _HINTS):
            try:
                parts = _LIST.decode(raw)
            except DECODE_ERRORS:
                continue
            found += _of_parts(parts)
    return tuple(found)


def _of_parts(parts: Any) -> Iterator[Document]:
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        if kind == "document":
            yield _of_block(part.get("source"))
        elif kind == "search_result":
            yield Document(_said(part.get("content")))
        elif kind in ("file", "input_file"):
            file = part["file"] if isinstance(part.get("file"), dict) else part
            yield Document(_text_of(file.get("file_data")))
        elif kind == "tool_result":
            # What of it is text the conversation holds.
            yield from _of_parts(part.get("content"))


def _of_block(source: Any) -> Document:
    if not isinstance(source, dict):
        return Document("")
    if source.get("type") == "content":
        content = source.get("content")
        return Document(content if isinstance(content, str) else _said(content))
    data = source.get("data")
    return Document(data if source.get("type") == "text" and isinstance(data, str) else "")


def _said(parts: Any) -> str:
    listed = parts if isinstance(parts, list) else ()
    texts = [part.get("text") for part in listed if isinstance(part, dict)]
    return "\n".join([text for text in texts if isinstance(text, str)])


def _text_of(data: Any) -> str:
    """Return the text of a file as a data URL, where it is one."""
    if not isinstance(data, str) or len(data) > _MAX_FILE_CHARS or not data.startswith("data:"):
        return ""
    head, _, content = data.partition(",")
    if not head.removeprefix("data:").startswith(_TEXT_TYPES) or not head.endswith(";base64"):
        return ""
    try:
        return base64.b64decode(content).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def without_declared(fields: Fields) -> tuple[Fields, tuple[str, ...]]:
    """Return a chat completion without the documents that it declares, and what was changed."""
    return _without(fields), (f"{FIELD}=withheld",)


def in_words(fields: Fields) -> tuple[Fields, tuple[str, ...]]:
    """Return a chat completion with its documents told at the beginning of the newest user turn.

    As a user says them: what stands in a document is no instruction of the system's.
    """
    words = words_of(fields)
    if not words:
        return _without(fields), ()
    messages = _TURNS.decode(fields["messages"])
    newest = next((i for i in reversed(range(len(messages))) if _role(messages[i]) == "user"), None)
    if newest is None:
        messages = [*messages, msgspec.Raw(_encode({"role": "user", "content": words}))]
    else:
        messages[newest] = msgspec.Raw(_encode(_with_words(messages[newest], words)))
    return {**_without(fields), "messages": _encode(messages)}, (f"{FIELD}=in words",)


def _with_words(message: msgspec.Raw, words: str) -> dict[str, Any]:
    said: dict[str, msgspec.Raw] = _MESSAGE.decode(message)
    content = msgspec.json.decode(said["content"]) if "content" in said else None
    if isinstance(content, list):
        return {**said, "content": [{"type": "text", "text": words}, *content]}
    return {**said, "content": f"{words}\n\n{content}" if content else words}


def words_of(fields: Fields) -> str:
    """Return the documents that a chat completion declares, as a model is told them."""
    documents = _LIST.decode(fields[FIELD])
    return _words(documents) if documents else ""


def _without(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name != FIELD}


def _role(message: msgspec.Raw) -> str:
    return msgspec.json.decode(message, type=_Role).role


class _Role(msgspec.Struct):
    role: str


def _words(documents: Sequence[Any]) -> str:
    texts = [each.text for each in declared_documents(documents)]
    told = "\n".join(
        f'<document index="{number}"{_title(each)}>\n{text}\n</document>'
        for number, (each, text) in enumerate(zip(documents, texts, strict=True), 1)
    )
    return f"<documents>\n{told}\n</documents>"


def _title(document: Any) -> str:
    inner: Mapping[str, Any] = document if isinstance(document, dict) else {}
    if isinstance(inner.get("data"), dict):
        inner = inner["data"]
    title = inner.get("title")
    if not isinstance(title, str) or not title:
        return ""
    quoted = " ".join(title.replace('"', "'").replace("<", "(").replace(">", ")").split())
    return f' title="{quoted[:200]}"'
