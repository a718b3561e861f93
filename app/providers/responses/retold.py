"""Responses that come otherwise than asked for: streamed, or in one piece."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.paths import RESPONSES
from app.providers.base import Chunk
from app.providers.http.sse import Comment, SseParser
from app.wire.decoding import DECODE_ERRORS

_ENDS = frozenset({"response.completed", "response.incomplete"})
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def last_response(events: bytes) -> bytes | None:
    """Return the JSON of the Response that one of some whole events ends with, if one does."""
    parser = SseParser()
    for data in reversed([*parser.feed(events), *parser.close()]):
        if type(data) is Comment or not data.startswith(b"{"):
            continue
        try:
            event = _decode(data)
            kind = msgspec.json.decode(event.get("type", b"null"))
        except DECODE_ERRORS:
            continue
        if kind in _ENDS and "response" in event:
            return bytes(event["response"])
    return None


def whole_response(chunks: Sequence[Chunk]) -> bytes:
    """Return the whole answer that a stream ends with.

    Raises
    ------
    UpstreamInvalidResponseError
        If there is none.
    """
    for chunk in reversed(chunks):
        found = last_response(chunk.data)
        if found is not None:
            return found
    raise UpstreamInvalidResponseError("the upstream's answer is no response")


def response_in_pieces(whole: Chunk) -> Chunk:
    """Return a whole answer as a stream of one piece.

    Raises
    ------
    UpstreamInvalidResponseError
        If its items are of no shape that a stream could have.
    """
    try:
        told = list(_events(_decode_any(whole.data)))
    except (TypeError, AttributeError, *DECODE_ERRORS) as error:
        raise UpstreamInvalidResponseError(
            "the upstream did not stream its answer, and it cannot be told in pieces"
        ) from error
    events = [
        b"event: %b\ndata: %b\n\n"
        % (kind.encode(), _encode({"type": kind, "sequence_number": i, **fields}))
        for i, (kind, fields) in enumerate(told)
    ]
    return msgspec.structs.replace(whole, data=b"".join(events), dialect=RESPONSES)


def _events(response: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    for kind in ("created", "in_progress"):
        yield f"response.{kind}", {"response": begun}
    for index, item in enumerate(response.get("output") or ()):
        place = {"output_index": index}
        shown = {**item, "status": "in_progress"}
        if item.get("type") == "message":
            yield "response.output_item.added", {**place, "item": {**shown, "content": []}}
            for i, part in enumerate(item.get("content") or ()):
                where = {"item_id": item.get("id"), **place, "content_index": i}
                yield from _part(where, part)
        else:
            yield "response.output_item.added", {**place, "item": shown}
        yield "response.output_item.done", {**place, "item": item}
    end = "incomplete" if response.get("status") == "incomplete" else "completed"
    yield f"response.{end}", {"response": response}


def _part(where: dict[str, Any], part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    text = part.get("text")
    said = part.get("type") == "output_text" and isinstance(text, str)
    begun = {**part, "text": ""} if said else part
    yield "response.content_part.added", {**where, "part": begun}
    if said:
        logprobs = part.get("logprobs") or []
        yield "response.output_text.delta", {**where, "delta": text, "logprobs": logprobs}
        yield "response.output_text.done", {**where, "text": text, "logprobs": logprobs}
    yield "response.content_part.done", {**where, "part": part}
