"""Anthropic's Messages API, as a server writes it.

The shapes are those of Anthropic's public documentation ("Create a Message", "Streaming
messages", "Errors"); the answers are the stub's own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.answers import Answer

_encode = msgspec.json.Encoder().encode

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERROR_TYPES = {"server_error": "api_error"}
_TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
_TOOL_CHOICES = {"auto": "auto", "none": "none", "any": "required"}

END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request as OpenAI's, as far as the stub's answers depend on it.

    Raises
    ------
    ValueError
        Where the real API refuses: no limit, no messages, roles that do not alternate.
    """
    if "max_tokens" not in body:
        raise ValueError("max_tokens: Field required")
    roles = [each.get("role") for each in body["messages"]]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))] or not roles:
        raise ValueError("messages: roles must alternate between user and assistant")
    chat: dict[str, Any] = {
        "messages": [message for turn in body["messages"] for message in _messages(turn)],
        "max_tokens": body["max_tokens"],
    }
    if body.get("system"):
        chat["messages"].insert(0, {"role": "system", "content": body["system"]})
    if body.get("tools"):
        chat["tools"] = [
            {"function": {"name": each["name"], "parameters": each["input_schema"]}}
            for each in body["tools"]
        ]
    choice = body.get("tool_choice") or {"type": "auto"}
    chat["tool_choice"] = _TOOL_CHOICES.get(
        choice["type"], {"type": "function", "function": {"name": choice.get("name")}}
    )
    if "format" in body.get("output_config", {}):
        schema = {"schema": body["output_config"]["format"]["schema"]}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat


def _messages(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    blocks = content if isinstance(content, list) else []
    results = [each for each in blocks if each["type"] == "tool_result"]
    messages = [{"role": "tool", "content": each.get("content")} for each in results]
    if len(blocks) > len(results) or isinstance(content, str):
        messages.append({"role": turn["role"], "content": content})
    return messages


def error_body(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None
) -> bytes:
    """Return an error in Anthropic's shape, which knows no codes."""
    if code == "context_length_exceeded":
        message = _TOO_LONG
    kind = "rate_limit_error" if code == "rate_limit_exceeded" else _ERROR_TYPES.get(kind, kind)
    error = {"type": kind, "message": message}
    return _encode({"type": "error", "error": error, "request_id": "req_simulated"})


def usage(input_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """Return the token counts of an answer."""
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": sum(len(answer.pieces) for answer in answers),
        "service_tier": "standard",
    }


def completion_body(
    completion_id: str, model: str, answers: list[Answer], counts: Mapping[str, Any] | None
) -> bytes:
    """Return a whole answer."""
    block = _block(answers[0], completion_id)
    if answers[0].tool is None:
        block["text"] = answers[0].text
    else:
        # Cut at the limit, the arguments may be no JSON; the real API sends what it has.
        block["input"] = _input(answers[0].text)
    body = _message(completion_id, model, counts)
    stop_reason = _STOP_REASONS[answers[0].finish_reason]
    return _encode({**body, "content": [block], "stop_reason": stop_reason})


def events(
    completion_id: str, model: str, answers: list[Answer], counts: Mapping[str, Any] | None
) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, the last excepted, each with the token it carries.

    See `app.stub.wire.events`.
    """
    answer = answers[0]
    opening = None if counts is None else {**counts, "output_tokens": 1}
    yield 0, _event("message_start", message=_message(completion_id, model, opening))
    block = _block(answer, completion_id)
    yield 0, _event("content_block_start", index=0, content_block=block)
    yield 0, _event("ping")
    kind, key = (
        ("text_delta", "text") if answer.tool is None else ("input_json_delta", "partial_json")
    )
    for position, piece in enumerate(answer.pieces, start=1):
        delta = {"type": kind, key: piece}
        yield position, _event("content_block_delta", index=0, delta=delta)
    yield len(answer.pieces), _event("content_block_stop", index=0)
    ended = {"stop_reason": _STOP_REASONS[answer.finish_reason], "stop_sequence": None}
    told = {} if counts is None else {"usage": {"output_tokens": counts["output_tokens"]}}
    yield len(answer.pieces), _event("message_delta", delta=ended, **told)


def error_event(body: bytes) -> bytes:
    """Frame an error in the middle of a stream."""
    return b"event: error\ndata: %b\n\n" % body


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


def _block(answer: Answer, completion_id: str) -> dict[str, Any]:
    if answer.tool is None:
        return {"type": "text", "text": ""}
    call_id = completion_id.replace("msg_", "toolu_")
    return {"type": "tool_use", "id": call_id, "name": answer.tool, "input": {}}


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _message(completion_id: str, model: str, counts: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "id": completion_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        **({} if counts is None else {"usage": counts}),
    }
