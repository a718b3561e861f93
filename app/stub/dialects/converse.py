"""Bedrock's Converse, as a server writes it.

The shapes are those of AWS' public documentation ("Converse", "ConverseStream", "Event stream
encoding"); the answers are the stub's own.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.answers.answer import Answer, Call
from app.stub.dialects.base import Body, Dialect, Refused, Reply

_encode = msgspec.json.Encoder().encode

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERROR_TYPES = {
    "server_error": "InternalServerException",
    "rate_limit_error": "ThrottlingException",
    "authentication_error": "UnrecognizedClientException",
    "permission_error": "AccessDeniedException",
}
_TOO_LONG = "Input is too long for requested model."
_STRING = 7


def refusal(body: Body) -> str | None:
    """Return what is wrong with a request, beyond what reading it shows."""
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return "1 validation error detected: Value at 'messages' failed to satisfy constraint"
    return None


def to_chat(body: Body) -> dict[str, Any]:
    """Return the request as OpenAI's, as far as the stub's answers depend on it.

    Raises
    ------
    Refused
        Where the real API refuses: roles that do not alternate, blocks of tools without tools.
    """
    turns = body["messages"]
    if [each["role"] for each in turns] != [
        ("user", "assistant")[i % 2] for i in range(len(turns))
    ]:
        raise Refused("A conversation must alternate between user and assistant roles.")
    tools = (body.get("toolConfig") or {}).get("tools") or []
    kinds = {kind for turn in turns for block in turn["content"] for kind in block}
    if not tools and not kinds.isdisjoint({"toolUse", "toolResult"}):
        raise Refused(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    config = body.get("inferenceConfig") or {}
    chat: dict[str, Any] = {
        "messages": [message for turn in turns for message in _messages(turn)],
        "max_tokens": config.get("maxTokens"),
        "stop": config.get("stopSequences"),
    }
    if body.get("system"):
        chat["messages"].insert(0, {"role": "system", "content": _text(body["system"])})
    specs = [each["toolSpec"] for each in tools if "toolSpec" in each]
    if specs:
        chat["tools"] = [
            {
                "type": "function",
                "function": {"name": each["name"], "parameters": each["inputSchema"]["json"]},
            }
            for each in specs
        ]
        chat["tool_choice"] = _choice(body["toolConfig"].get("toolChoice") or {"auto": {}})
    output = body.get("outputConfig") or {}
    if "textFormat" in output:
        schema = msgspec.json.decode(output["textFormat"]["structure"]["jsonSchema"]["schema"])
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    if "thinking" in (body.get("additionalModelRequestFields") or {}):
        chat["reasoning_effort"] = output.get("effort", "low")
    return chat


def _choice(choice: Mapping[str, Any]) -> str | dict[str, Any]:
    if "tool" in choice:
        return {"type": "function", "function": {"name": choice["tool"]["name"]}}
    return "required" if "any" in choice else "auto"


def _messages(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = turn["content"]
    results = [each["toolResult"] for each in blocks if "toolResult" in each]
    messages = [{"role": "tool", "content": _text(each["content"])} for each in results]
    if len(blocks) > len(results):
        messages.append({"role": turn["role"], "content": _text(blocks)})
    return messages


def _text(blocks: list[Mapping[str, Any]]) -> str:
    return "\n".join(block["text"] for block in blocks if "text" in block)


def error_body(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None
) -> bytes:
    """Return an error in AWS' shape."""
    named = _ERROR_TYPES.get(kind, "ValidationException")
    if code == "context_length_exceeded":
        message = _TOO_LONG
    if code == "model_not_found":
        named = "ResourceNotFoundException"
    if code == "rate_limit_exceeded":
        named = "ThrottlingException"
    return _encode({"__type": named, "message": message})


def usage(input_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """Return the token counts of an answer."""
    said = sum(answer.tokens for answer in answers)
    return {"inputTokens": input_tokens, "outputTokens": said, "totalTokens": input_tokens + said}


def whole(reply: Reply) -> bytes:
    """Return a whole answer."""
    answer = reply.answers[0]
    content: list[dict[str, Any]] = []
    if answer.thought:
        text = "".join(answer.thought)
        told = {"text": text, "signature": _seal(reply)}
        content.append({"reasoningContent": {"reasoningText": told}})
    for index, call in enumerate(answer.calls):
        content.append({"toolUse": {**_begun(reply, index, call), "input": _input(call.text)}})
    if not answer.calls:
        content.append({"text": answer.text})
    body = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _STOP_REASONS[answer.finish_reason],
        "metrics": {"latencyMs": 0},
    }
    return _encode(body if reply.counts is None else {**body, "usage": reply.counts})


def events(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, the last ones excepted, each with the tokens said by then."""
    answer = reply.answers[0]
    yield 0, _event("messageStart", role="assistant")
    position = index = 0
    if answer.thought:
        for piece in answer.thought:
            position += 1
            yield position, _delta(index, reasoningContent={"text": piece})
        yield position, _delta(index, reasoningContent={"signature": _seal(reply)})
        yield position, _event("contentBlockStop", contentBlockIndex=index)
        index += 1
    for number, call in enumerate(answer.calls):
        start = {"toolUse": _begun(reply, number, call)}
        yield position, _event("contentBlockStart", contentBlockIndex=index, start=start)
        for piece in call.pieces:
            position += 1
            yield position, _delta(index, toolUse={"input": piece})
        yield position, _event("contentBlockStop", contentBlockIndex=index)
        index += 1
    if not answer.calls:
        for piece in answer.pieces:
            position += 1
            yield position, _delta(index, text=piece)
        yield position, _event("contentBlockStop", contentBlockIndex=index)


def _end(reply: Reply, _n_events: int) -> bytes:
    end = _event("messageStop", stopReason=_STOP_REASONS[reply.answers[0].finish_reason])
    if reply.counts is None:
        return end
    return end + _event("metadata", usage=reply.counts, metrics={"latencyMs": 0})


def _error_event(body: bytes, _n_events: int) -> bytes:
    named = msgspec.json.decode(body)["__type"]
    kind = named[0].lower() + named[1:]
    return _framed({":exception-type": kind, ":message-type": "exception"}, body)


def _begun(reply: Reply, index: int, call: Call) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_{reply.reply_id}_{index}", "name": call.name}


def _seal(reply: Reply) -> str:
    text = "".join(reply.answers[0].thought)
    return hashlib.sha256(f"{reply.model}\n{text}".encode()).hexdigest()


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}  # cut at the limit


def _delta(index: int, **delta: Any) -> bytes:
    return _event("contentBlockDelta", contentBlockIndex=index, delta=delta)


def _event(kind: str, **fields: Any) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return _framed(headers, _encode(fields))


def _framed(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return a message of an event stream, with its checksums."""
    told = b""
    for name, value in headers.items():
        told += bytes([len(name)]) + name.encode()
        told += struct.pack(">BH", _STRING, len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(told) + len(payload), len(told))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + told + payload
    return data + struct.pack(">I", zlib.crc32(data))


CONVERSE = Dialect(
    id_prefix="sim",
    id_header=b"x-amzn-requestid",
    refusal=refusal,
    to_chats=lambda body: [to_chat(body)],
    error_body=error_body,
    usage=usage,
    whole=whole,
    events=events,
    error_event=_error_event,
    end=_end,
    stream_type=b"application/vnd.amazon.eventstream",
)
