"""OpenAI's chat completions, as a server writes them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.answers import Answer

FINGERPRINT = "fp_simulated"

_encode = msgspec.json.Encoder().encode


def error_body(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None
) -> bytes:
    """Return an error in OpenAI's shape."""
    return _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def models_body(names: list[str]) -> bytes:
    """Return the list of models."""
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "steelyard-stub"}
        for name in names
    ]
    return _encode({"object": "list", "data": data})


def usage(input_tokens: int, answers: list[Answer]) -> dict[str, Any]:
    """Return the token counts of an answer."""
    output_tokens = sum(len(answer.pieces) for answer in answers)
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def completion_body(
    completion_id: str, model: str, answers: list[Answer], counts: Mapping[str, Any] | None
) -> bytes:
    """Return a whole answer."""
    choices = [
        {
            "index": index,
            "message": _message(answer, completion_id),
            "logprobs": None,
            "finish_reason": answer.finish_reason,
        }
        for index, answer in enumerate(answers)
    ]
    body = {
        **_envelope(completion_id, model, "chat.completion"),
        "choices": choices,
    }
    return _encode(body if counts is None else {**body, "usage": counts})


def events(
    completion_id: str,
    model: str,
    answers: list[Answer],
    counts: Mapping[str, Any] | None,
) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, `[DONE]` excepted, each with the token it carries.

    Parameters
    ----------
    counts
        Token counts for the usage event, None if the client did not ask for it.

    Yields
    ------
    tuple of int and bytes
        How many tokens of each choice have been said by then, and the framed event.
    """
    envelope = _encode(_envelope(completion_id, model, "chat.completion.chunk"))[:-1]
    tail = b',"usage":null}\n\n' if counts is not None else b"}\n\n"

    def event(index: int, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        return (
            b'data: %b,"choices":[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]%b'
            % (envelope, index, delta, finish_reason, tail)
        )

    for index, answer in enumerate(answers):
        yield 0, event(index, _encode(_first_delta(answer, completion_id)))
    for position in range(max(len(answer.pieces) for answer in answers)):
        for index, answer in enumerate(answers):
            if position < len(answer.pieces):
                piece = _encode(answer.pieces[position])
                yield position + 1, event(index, _delta(answer) % piece)
    for index, answer in enumerate(answers):
        yield len(answer.pieces), event(index, b"{}", _encode(answer.finish_reason))
    if counts is not None:
        yield 0, b'data: %b,"choices":[],"usage":%b}\n\n' % (envelope, _encode(counts))


def _delta(answer: Answer) -> bytes:
    if answer.tool is None:
        return b'{"content":%b}'
    return b'{"tool_calls":[{"index":0,"function":{"arguments":%b}}]}'


def _first_delta(answer: Answer, completion_id: str) -> dict[str, Any]:
    if answer.tool is None:
        return {"role": "assistant", "content": "", "refusal": None}
    call = {"index": 0, **_call(answer, completion_id, arguments="")}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _message(answer: Answer, completion_id: str) -> dict[str, Any]:
    if answer.tool is None:
        return {"role": "assistant", "content": answer.text, "refusal": None}
    calls = [_call(answer, completion_id, arguments=answer.text)]
    return {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None}


def _call(answer: Answer, completion_id: str, *, arguments: str) -> dict[str, Any]:
    return {
        "id": completion_id.replace("chatcmpl-", "call_"),
        "type": "function",
        "function": {"name": answer.tool, "arguments": arguments},
    }


def _envelope(completion_id: str, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": completion_id,
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
