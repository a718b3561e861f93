"""Completions of plain prompts that come otherwise than asked for: streamed, or in one piece."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.base import Chunk
from app.usage import ToldUsage

_ERRORS = (msgspec.DecodeError, ValueError, TypeError, AttributeError, KeyError)
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def put_texts_together(chunks: Iterable[Chunk]) -> Chunk:
    """Return the whole answer that a stream of texts amounts to.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is empty, or none.
    """
    seen = list(chunks)
    if not any(chunk.has_content for chunk in seen):
        raise UpstreamInvalidResponseError("the upstream's answer is empty")
    head: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    usage: ToldUsage | None = None
    try:
        for chunk in seen:
            for line in chunk.data.split(b"\n"):
                if line.startswith(b"data: "):
                    event = _decode(line[6:])
                    for choice in event.pop("choices", None) or ():
                        _add(choices.setdefault(choice.get("index") or 0, {"text": ""}), choice)
                    head = {**event, **head}
            if chunk.usage is not None:
                usage = chunk.usage if usage is None else usage.updated(chunk.usage)
            if chunk.usage_event is not None:
                head["usage"] = _decode(chunk.usage_event).get("usage")
    except _ERRORS as error:
        raise UpstreamInvalidResponseError(
            "the upstream streamed an answer that was not to be, and it cannot be put together"
        ) from error
    told = [{"index": index, **choices[index]} for index in sorted(choices)]
    return Chunk(
        data=_encode({**head, "choices": told}),
        dialect=seen[0].dialect,
        usage=usage,
        content_events=sum(chunk.content_events for chunk in seen),
        content_chars=sum(chunk.content_chars for chunk in seen),
        response_model=next((each.response_model for each in seen if each.response_model), None),
        finish_reason=next((each.finish_reason for each in seen if each.finish_reason), None),
        headers=seen[0].headers,
    )


def _add(known: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Put a piece of a choice behind what came before it."""
    for name, value in piece.items():
        if name == "text":
            known["text"] += value or ""
        elif name == "logprobs" and value is not None:
            lists = known.setdefault(name, {})
            for kind, entries in value.items():
                lists[kind] = [*(lists.get(kind) or ()), *(entries or ())]
        elif name != "index" and (value is not None or name not in known):
            known[name] = value


def texts_in_pieces(whole: Chunk) -> Chunk:
    """Return a whole answer as a stream of one piece."""
    answer = _decode(whole.data)
    usage = answer.pop("usage", None)
    event = _encode(answer)
    return msgspec.structs.replace(
        whole,
        data=b"data: %b\n\n" % event,
        template=event,
        usage_event=None if usage is None else _encode({**answer, "choices": [], "usage": usage}),
    )
