"""Anthropic's Messages API, as a server writes it.

The shapes are those of Anthropic's public documentation ("Create a Message", "Streaming
messages", "Errors"); the answers are the stub's own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.answers.answer import Answer
from app.stub.answers.compose import input_tokens
from app.stub.dialects.base import Body, Dialect, Reply
from app.stub.dialects.messages_request import to_chat

_encode = msgspec.json.Encoder().encode

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERROR_TYPES = {"server_error": "api_error"}
_TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def refusal(body: Body) -> str | None:
    """Return what is wrong with a request, beyond what reading it shows."""
    if not isinstance(body.get("messages"), list):
        return "messages: Field required"
    return None


def count_tokens_body(body: Body) -> bytes:
    """Answer how many tokens a request has.

    Raises
    ------
    Refused
        As `to_chat` does.
    """
    return _encode({"input_tokens": input_tokens(to_chat({"max_tokens": 1, **body}))})


def error_body(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None
) -> bytes:
    """Return an error in Anthropic's shape, which knows no codes."""
    if code == "context_length_exceeded":
        message = _TOO_LONG
    kind = "rate_limit_error" if code == "rate_limit_exceeded" else _ERROR_TYPES.get(kind, kind)
    kind = "not_found_error" if code == "model_not_found" else kind
    error = {"type": kind, "message": message}
    return _encode({"type": "error", "error": error, "request_id": "req_simulated"})


def usage(input_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """Return the token counts of an answer."""
    thought = sum(len(answer.thought) for answer in answers)
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": sum(answer.tokens for answer in answers),
        **({"output_tokens_details": {"thinking_tokens": thought}} if thought else {}),
        "service_tier": "standard",
    }


def whole(reply: Reply) -> bytes:
    """Return a whole answer."""
    content = [{**block, **filled} for block, filled, _ in _blocks(reply)]
    return _encode({**_message(reply), "content": content, **_stopped(reply.answers[0])})


def events(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, `message_stop` excepted, each with the tokens said by then."""
    counts = reply.counts
    opening = closing = counts
    if counts is not None:
        said = {key: counts[key] for key in counts if key.startswith("output_tokens")}
        opening = {key: counts[key] for key in counts if key not in said} | {"output_tokens": 1}
        closing = {"usage": said}
    yield 0, _event("message_start", message=_message(reply, opening))
    position = 0
    for index, (block, filled, pieces) in enumerate(_blocks(reply)):
        yield position, _event("content_block_start", index=index, content_block=block)
        if index == 0:
            yield position, _event("ping")
        kind, key = _DELTAS[block["type"]]
        for piece in pieces:
            position += 1
            delta = {"type": kind, key: piece}
            yield position, _event("content_block_delta", index=index, delta=delta)
        if block["type"] == "thinking":
            delta = {"type": "signature_delta", "signature": filled["signature"]}
            yield position, _event("content_block_delta", index=index, delta=delta)
        yield position, _event("content_block_stop", index=index)
    yield position, _event("message_delta", delta=_stopped(reply.answers[0]), **(closing or {}))


_DELTAS = {
    "text": ("text_delta", "text"),
    "tool_use": ("input_json_delta", "partial_json"),
    "thinking": ("thinking_delta", "thinking"),
}


def _blocks(reply: Reply) -> Iterator[tuple[dict[str, Any], dict[str, Any], list[str]]]:
    """Yield each block as it begins, what it has when it is whole, and its tokens."""
    answer = reply.answers[0]
    if answer.thought:
        text = "".join(answer.thought)
        display = (reply.body.get("thinking") or {}).get("display")
        shown = [] if display == "omitted" else answer.thought
        filled = {"thinking": "".join(shown), "signature": _signature(reply.model, text)}
        yield {"type": "thinking", "thinking": "", "signature": ""}, filled, shown
    for index, call in enumerate(answer.calls):
        call_id = reply.reply_id.replace("msg_", "toolu_") + (f"_{index}" if index else "")
        block = {"type": "tool_use", "id": call_id, "name": call.name, "input": {}}
        yield block, {"input": _input(call.text)}, call.pieces
    if not answer.calls:
        yield {"type": "text", "text": ""}, {"text": answer.text}, answer.pieces


def _signature(model: str, text: str) -> str:
    return hashlib.sha256(f"{model}\n{text}".encode()).hexdigest()


def _stopped(answer: Answer) -> dict[str, Any]:
    if answer.stop_sequence is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_sequence}
    return {"stop_reason": _STOP_REASONS[answer.finish_reason], "stop_sequence": None}


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        # Cut at the limit, the arguments may be no JSON; the real API sends what it has.
        return {}


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


def _message(reply: Reply, counts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    counts = reply.counts if counts is None else counts
    return {
        "id": reply.reply_id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        **({} if counts is None else {"usage": counts}),
    }


MESSAGES = Dialect(
    id_prefix="msg_sim",
    id_header=b"request-id",
    refusal=refusal,
    to_chats=lambda body: [to_chat(body)],
    error_body=error_body,
    usage=usage,
    whole=whole,
    events=events,
    error_event=lambda body, _: b"event: error\ndata: %b\n\n" % body,
    end=lambda *_: _END,
)
