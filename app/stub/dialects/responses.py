"""OpenAI's Responses API, as a server writes it: items, and the events that build them.

The shapes are those of OpenAI's public documentation ("Create a model response", "Streaming").
"""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from app.stub.answers.answer import Answer
from app.stub.answers.sureness import openai_logprobs
from app.stub.dialects.base import Dialect, Reply
from app.stub.dialects.chat import error_body
from app.stub.dialects.responses_request import refusal, to_chat

_encode = msgspec.json.Encoder().encode

_Item = dict[str, Any]
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
"""What an answer repeats of its request, and what it says where nothing was sent."""


def usage(input_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """Return the token counts of an answer."""
    output_tokens = sum(answer.tokens for answer in answers)
    thought = sum(len(answer.thought) for answer in answers)
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": input_tokens + output_tokens,
    }


def whole(reply: Reply) -> bytes:
    """Return a whole answer."""
    return _encode(_ended(reply))


def events(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, the last excepted, each with the tokens said by then."""
    numbers = iter(range(1_000_000))

    def event(kind: str, **fields: Any) -> bytes:
        return _event(kind, next(numbers), **fields)

    begun = _response(reply, status="in_progress", output=[], usage=None)
    yield 0, event("response.created", response=begun)
    yield 0, event("response.in_progress", response=begun)
    position = 0
    for index, (item, pieces) in enumerate(_items(reply)):
        yield position, event("response.output_item.added", output_index=index, item=_opened(item))
        if item["type"] == "reasoning" and not item["summary"]:
            position += len(pieces)  # thought all the same
        for said, kind, fields in _building(item, pieces):
            position += said
            yield (
                position,
                event(kind, item_id=item["id"], output_index=index, **fields),
            )
        yield position, event("response.output_item.done", output_index=index, item=item)


def end(reply: Reply, n_events: int) -> bytes:
    """Return the event that ends a stream."""
    ended = _ended(reply)
    return _event(f"response.{ended['status']}", n_events, response=ended)


def error_event(body: bytes, n_events: int) -> bytes:
    """Frame an error in the middle of a stream."""
    error = msgspec.json.decode(body)["error"]
    told = {"code": error["code"] or error["type"], "message": error["message"], "param": None}
    return _event("error", n_events, **told)


def _event(kind: str, number: int, **fields: Any) -> bytes:
    data = _encode({"type": kind, "sequence_number": number, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


_Built = Iterator[tuple[int, str, dict[str, Any]]]
"""How many tokens an event says, its type, and what else is in it."""


def _building(item: _Item, pieces: list[str]) -> _Built:
    """Yield the events between an item's being added and its being done."""
    match item["type"]:
        case "message":
            yield from _text(item, pieces)
        case "reasoning":
            yield from _summary(item, pieces)
        case "function_call":
            for piece in pieces:
                yield 1, "response.function_call_arguments.delta", {"delta": piece}
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield 0, "response.function_call_arguments.done", done
        case "custom_tool_call":
            for piece in pieces:
                yield 1, "response.custom_tool_call_input.delta", {"delta": piece}
            yield 0, "response.custom_tool_call_input.done", {"input": item["input"]}


def _text(item: _Item, pieces: list[str]) -> _Built:
    (part,) = item["content"]
    place = {"content_index": 0}
    empty = {**part, "text": "", "logprobs": []}
    yield 0, "response.content_part.added", {**place, "part": empty}
    told = part["logprobs"] or [None] * len(pieces)
    for piece, probable in zip(pieces, told, strict=True):
        logprobs = [] if probable is None else [probable]
        yield 1, "response.output_text.delta", {**place, "delta": piece, "logprobs": logprobs}
    done = {**place, "text": part["text"], "logprobs": part["logprobs"]}
    yield 0, "response.output_text.done", done
    yield 0, "response.content_part.done", {**place, "part": part}


def _summary(item: _Item, pieces: list[str]) -> _Built:
    if not item["summary"]:
        yield from ()
        return
    place = {"summary_index": 0}
    (part,) = item["summary"]
    yield 0, "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
    for piece in pieces:
        yield 1, "response.reasoning_summary_text.delta", {**place, "delta": piece}
    yield 0, "response.reasoning_summary_text.done", {**place, "text": part["text"]}
    yield 0, "response.reasoning_summary_part.done", {**place, "part": part}


def _opened(item: _Item) -> _Item:
    """Return an item as it is before anything was said."""
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "reasoning":
            return {**item, "summary": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case _:
            return {**item, "status": "in_progress", "input": ""}


def _items(reply: Reply) -> Iterator[tuple[_Item, list[str]]]:
    """Yield the items of an answer as they are in the end, each with its tokens."""
    answer = reply.answers[0]
    own_id = reply.reply_id.removeprefix("resp_")
    if answer.thought:
        yield _reasoning(reply, answer, f"rs_{own_id}")
    for index, call in enumerate(answer.calls):
        told: _Item = {
            "id": f"{'ctc' if call.custom else 'fc'}_{own_id}_{index}",
            "type": "custom_tool_call" if call.custom else "function_call",
            "status": "completed",
            "call_id": f"call_{own_id}_{index}",
            "name": call.name,
            "input" if call.custom else "arguments": call.text,
        }
        if call.namespace is not None:
            told["namespace"] = call.namespace
        yield told, call.pieces
    if not answer.calls:
        wanted = "message.output_text.logprobs" in (reply.body.get("include") or [])
        top = reply.body.get("top_logprobs") or 0
        key = f"{reply.model}\n{answer.text}"
        part = {
            "type": "output_text",
            "text": answer.text,
            "annotations": [],
            "logprobs": openai_logprobs(answer, key, top) if wanted or top else [],
        }
        yield (
            {
                "id": f"msg_{own_id}",
                "type": "message",
                "status": "incomplete" if answer.finish_reason == "length" else "completed",
                "role": "assistant",
                "content": [part],
            },
            answer.pieces,
        )


def _reasoning(reply: Reply, answer: Answer, item_id: str) -> tuple[_Item, list[str]]:
    text = "".join(answer.thought)
    summarized = (reply.body.get("reasoning") or {}).get("summary") is not None
    item: _Item = {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if summarized else [],
    }
    if "reasoning.encrypted_content" in (reply.body.get("include") or []):
        sealed = hashlib.sha256(f"{reply.model}\n{text}".encode()).hexdigest()
        item["encrypted_content"] = f"simulated-{sealed}"
    return item, answer.thought


def _ended(reply: Reply) -> dict[str, Any]:
    cut = reply.answers[0].finish_reason == "length"
    output = [item for item, _ in _items(reply)]
    ended = _response(
        reply, status="incomplete" if cut else "completed", output=output, usage=reply.counts
    )
    if cut:
        ended["incomplete_details"] = {"reason": "max_output_tokens"}
    else:
        ended["completed_at"] = ended["created_at"]
    return ended


def _response(reply: Reply, **fields: Any) -> dict[str, Any]:
    sent = reply.body
    reasoning = {"effort": None, "summary": None, **(sent.get("reasoning") or {})}
    return {
        "id": reply.reply_id,
        "object": "response",
        "created_at": int(time.time()),
        "model": reply.model,
        "error": None,
        "incomplete_details": None,
        "background": False,
        "reasoning": reasoning,
        **{k: sent[k] if sent.get(k) is not None else v for k, v in _ECHOED.items()},
        **fields,
    }


RESPONSES = Dialect(
    id_prefix="resp_sim",
    headers=((b"openai-version", b"2020-10-01"),),
    id_header=b"x-request-id",
    refusal=refusal,
    to_chats=lambda body: [to_chat(body)],
    error_body=error_body,
    usage=usage,
    whole=whole,
    events=events,
    error_event=error_event,
    end=end,
)
