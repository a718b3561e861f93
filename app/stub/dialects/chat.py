"""OpenAI's chat completions, as a server writes them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from app.stub.answers.answer import Answer, Call
from app.stub.answers.sureness import openai_logprobs
from app.stub.dialects.base import Body, Dialect, Reply

FINGERPRINT = "fp_simulated"

_MAX_CHOICES = 128
_MAX_TOP_LOGPROBS = 20
_DONE = b"data: [DONE]\n\n"

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
    output_tokens = sum(answer.tokens for answer in answers)
    thought = sum(len(answer.thought) for answer in answers)
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def refusal(body: Body) -> str | None:
    """Return what is wrong with a request."""
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return "'messages' must be a list of at least one message."
    if isinstance(body.get("n"), int) and body["n"] > _MAX_CHOICES:
        return f"'n' must be at most {_MAX_CHOICES}."
    top = body.get("top_logprobs")
    if top is not None and (type(top) is not int or not 0 <= top <= _MAX_TOP_LOGPROBS):
        return f"'top_logprobs' must be from 0 to {_MAX_TOP_LOGPROBS}."
    return None


def whole(reply: Reply) -> bytes:
    """Return a whole answer."""
    choices = []
    for index, answer in enumerate(reply.answers):
        told = _logprobs(reply, answer)
        choices.append(
            {
                "index": index,
                "message": _message(answer, reply.reply_id),
                "logprobs": None if told is None else {"content": told, "refusal": None},
                "finish_reason": answer.finish_reason,
            }
        )
    body = {**_envelope(reply, "chat.completion"), "choices": choices}
    return _encode(body if reply.counts is None else {**body, "usage": reply.counts})


def events(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a stream, `[DONE]` excepted, each with the token it carries.

    Yields
    ------
    tuple of int and bytes
        How many tokens of each choice have been said by then, and the framed event.
    """
    envelope = _encode(_envelope(reply, "chat.completion.chunk"))[:-1]
    tail = b',"usage":null}\n\n' if reply.counts is not None else b"}\n\n"
    answers = reply.answers

    def event(
        index: int, delta: bytes, finish_reason: bytes = b"null", logprobs: bytes = b"null"
    ) -> bytes:
        return (
            b'data: %b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b'
            % (envelope, index, delta, logprobs, finish_reason, tail)
        )

    for index, answer in enumerate(answers):
        for delta in _first_deltas(answer, reply.reply_id):
            yield 0, event(index, delta)
    told = [_logprobs(reply, answer) for answer in answers]
    deltas = [_deltas(answer) for answer in answers]
    for position in range(max(map(len, deltas))):
        for index, answer in enumerate(answers):
            if position < len(deltas[index]):
                probable = told[index]
                logprobs = b"null"
                if probable is not None:
                    logprobs = _encode({"content": [probable[position]], "refusal": None})
                said = len(answer.thought) + position + 1
                yield said, event(index, deltas[index][position], logprobs=logprobs)
    for index, answer in enumerate(answers):
        yield answer.tokens, event(index, b"{}", _encode(answer.finish_reason))
    if reply.counts is not None:
        yield 0, b'data: %b,"choices":[],"usage":%b}\n\n' % (envelope, _encode(reply.counts))


def _logprobs(reply: Reply, answer: Answer) -> list[dict[str, Any]] | None:
    if reply.body.get("logprobs") is not True or answer.calls:
        return None
    top = reply.body.get("top_logprobs")
    return openai_logprobs(answer, f"{reply.model}\n{answer.text}", top or 0)


def _deltas(answer: Answer) -> list[bytes]:
    deltas = [b'{"content":%b}' % _encode(piece) for piece in answer.pieces]
    for index, call in enumerate(answer.calls):
        shape = (
            b'{"tool_calls":[{"index":%d,"custom":{"input":%b}}]}'
            if call.custom
            else b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        )
        deltas += [shape % (index, _encode(piece)) for piece in call.pieces]
    return deltas


def _first_deltas(answer: Answer, reply_id: str) -> Iterator[bytes]:
    if not answer.calls:
        yield _encode({"role": "assistant", "content": "", "refusal": None})
    for index, call in enumerate(answer.calls):
        begun = {"index": index, **_call(call, reply_id, index, text="")}
        opening = {"role": "assistant", "content": None} if index == 0 else {}
        yield _encode({**opening, "tool_calls": [begun]})


def _message(answer: Answer, reply_id: str) -> dict[str, Any]:
    if not answer.calls:
        return {"role": "assistant", "content": answer.text, "refusal": None}
    calls = [
        _call(call, reply_id, index, text=call.text) for index, call in enumerate(answer.calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None}


def _call(call: Call, reply_id: str, index: int, *, text: str) -> dict[str, Any]:
    call_id = reply_id.replace("chatcmpl-", "call_") + (f"_{index}" if index else "")
    if call.custom:
        told = {"name": call.name, "input": text}
        return {"id": call_id, "type": "custom", "custom": told}
    named = {"name": call.name, "arguments": text}
    return {"id": call_id, "type": "function", "function": named}


def _envelope(reply: Reply, kind: str) -> Mapping[str, Any]:
    return {
        "id": reply.reply_id,
        "object": kind,
        "created": int(time.time()),
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


CHAT = Dialect(
    id_prefix="chatcmpl-sim",
    headers=((b"openai-version", b"2020-10-01"),),
    id_header=b"x-request-id",
    refusal=refusal,
    to_chats=lambda body: [body],
    error_body=error_body,
    usage=usage,
    whole=whole,
    events=events,
    error_event=lambda body, _: b"data: %b\n\n" % body,
    end=lambda *_: _DONE,
    usage_on_demand=True,
)
