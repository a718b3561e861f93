"""The same requests in every dialect that clients chat in, and upstreams that answer out of memory.

What is passed through and what is translated differs in the upstream alone: whether it says that it
speaks the dialect. It is called by the provider that would call a real one, so that what encodes a
request and reads an answer is part of what is measured.
"""

import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from app.providers.anthropic import AnthropicProvider
from app.providers.base import Provider
from app.providers.openai import OpenAIProvider

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"

_N_WORDS = 100
_WORD = "word "
_TEXT = _WORD * _N_WORDS
_CHAT_USAGE = {"prompt_tokens": 60, "completion_tokens": _N_WORDS, "total_tokens": 160}
_USAGE = {"input_tokens": 60, "output_tokens": _N_WORDS}
_LIMIT = 1000

Body = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One dialect before one kind of upstream.

    Attributes
    ----------
    path
        Where clients send it.
    worded
        Makes a request of the dialect of one of chat completions.
    provider
        Calls the upstream.
    """

    name: str
    path: str
    worded: Callable[[Body], Body]
    provider: Provider

    def bodies(self, chats: Sequence[bytes], *, stream: bool) -> list[bytes]:
        """Return what clients send: the same as in these requests of chat completions."""
        more = {"stream": True} if stream else {}
        return [
            msgspec.json.encode({**self.worded(msgspec.json.decode(chat)), **more})
            for chat in chats
        ]


def cases() -> list[Case]:
    """Return chat completions, which the others are held against, then every other dialect."""
    openai = functools.partial(
        OpenAIProvider, base_url="http://127.0.0.1:1/v1", api_key="none", transport=_Memory()
    )
    anthropic = AnthropicProvider(
        base_url="http://127.0.0.1:1/v1", api_key="none", transport=_Memory()
    )
    native = openai(also_serves=("completions", "responses"))
    chat_alone = openai()
    return [
        Case(name="chat", path=CHAT, worded=_chat, provider=chat_alone),
        *(
            Case(name=f"{path.rpartition('/')[2]}, {how}", path=path, worded=worded, provider=by)
            for path, worded, speaker in (
                (MESSAGES, _messages, anthropic),
                (RESPONSES, _response, native),
                (COMPLETIONS, _completion, native),
            )
            for how, by in (("passed through", speaker), ("translated", chat_alone))
        ),
    ]


# --- requests ---------------------------------------------------------------------------------


def _chat(chat: Body) -> Body:
    return {**chat, "max_tokens": _LIMIT}


def _messages(chat: Body) -> Body:
    told: dict[str, Any] = {"model": chat["model"], "max_tokens": _LIMIT}
    told["messages"] = [turn for turn in chat["messages"] if turn["role"] != "system"]
    system = [turn["content"] for turn in chat["messages"] if turn["role"] == "system"]
    if system:
        told["system"] = system[0]
    if "tools" in chat:
        told["tools"] = [
            {
                "name": each["function"]["name"],
                "description": each["function"]["description"],
                "input_schema": each["function"]["parameters"],
            }
            for each in chat["tools"]
        ]
    return told


def _response(chat: Body) -> Body:
    kinds = {"assistant": "output_text"}
    told: dict[str, Any] = {"model": chat["model"], "max_output_tokens": _LIMIT, "store": False}
    told["input"] = [
        {
            "type": "message",
            "role": turn["role"],
            "content": [{"type": kinds.get(turn["role"], "input_text"), "text": turn["content"]}],
        }
        for turn in chat["messages"]
    ]
    if "tools" in chat:
        told["tools"] = [{"type": "function", **each["function"]} for each in chat["tools"]]
    return told


def _completion(chat: Body) -> Body:
    prompt = "\n".join(turn["content"] for turn in chat["messages"])
    return {"model": chat["model"], "prompt": prompt, "max_tokens": _LIMIT}


# --- answers ----------------------------------------------------------------------------------


class _Memory(httpx.AsyncBaseTransport):
    """Has the answer of every path ready, whole and streamed."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kind = next(value for name, value in request.headers.raw if name.lower() == b"accept")
        reads = (_STREAMS if kind == _STREAM_TYPE else _WHOLE)[request.url.path]
        headers = [(b"content-type", kind), (b"x-request-id", b"req-1")]
        return httpx.Response(200, headers=headers, stream=_Reads(reads), request=request)


class _Reads(httpx.AsyncByteStream):
    def __init__(self, reads: Sequence[bytes]) -> None:
        self._reads = reads

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for each in self._reads:
            yield each


_STREAM_TYPE = b"text/event-stream"


def _event(value: Any, name: str = "") -> bytes:
    data = b"data: %b\n\n" % msgspec.json.encode(value)
    return b"event: %b\n%b" % (name.encode(), data) if name else data


def _named(*events: Mapping[str, Any]) -> list[bytes]:
    return [_event(each, each["type"]) for each in events]


def _chat_like(kind: str, choice: Body, **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": kind,
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, **choice}],
        **more,
    }


def _chat_stream() -> list[bytes]:
    kind = "chat.completion.chunk"
    told = _chat_like(kind, {}, usage=_CHAT_USAGE) | {"choices": []}
    deltas = [{"role": "assistant", "content": ""}, *[{"content": _WORD}] * _N_WORDS]
    return [
        *(_event(_chat_like(kind, {"delta": delta, "finish_reason": None})) for delta in deltas),
        _event(_chat_like(kind, {"delta": {}, "finish_reason": "stop"})),
        _event(told),
        b"data: [DONE]\n\n",
    ]


def _completion_stream() -> list[bytes]:
    kind = "text_completion"
    words = [_event(_chat_like(kind, {"text": _WORD, "finish_reason": None}))] * _N_WORDS
    told = _chat_like(kind, {}, usage=_CHAT_USAGE) | {"choices": []}
    last = _event(_chat_like(kind, {"text": "", "finish_reason": "stop"}))
    return [*words, last, _event(told), b"data: [DONE]\n\n"]


def _message(**more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
        **more,
    }


def _message_stream() -> list[bytes]:
    delta = {"type": "text_delta", "text": _WORD}
    begun = _message(content=[], stop_reason=None, usage={"input_tokens": 60, "output_tokens": 1})
    return _named(
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[{"type": "content_block_delta", "index": 0, "delta": delta}] * _N_WORDS,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": _N_WORDS},
        },
        {"type": "message_stop"},
    )


def _whole_response(**more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": _TEXT, "annotations": []}
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": [item],
        "usage": {**_USAGE, "total_tokens": 160},
        **more,
    }


def _response_stream() -> list[bytes]:
    """Return the events that a text takes; each says all that it is about, as OpenAI's do."""
    whole = _whole_response()
    item = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = [{"type": "response.output_text.delta", **where, "delta": _WORD}] * _N_WORDS
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {
            "type": "response.content_part.added",
            **where,
            "part": {"type": "output_text", "text": ""},
        },
        *deltas,
        {"type": "response.output_text.done", **where, "text": _TEXT},
        {"type": "response.content_part.done", **where, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return _named(*({**each, "sequence_number": n} for n, each in enumerate(events)))


_WHOLE = {
    path: [msgspec.json.encode(answer)]
    for path, answer in (
        (
            CHAT,
            _chat_like(
                "chat.completion",
                {"message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"},
                usage=_CHAT_USAGE,
            ),
        ),
        (
            COMPLETIONS,
            _chat_like(
                "text_completion", {"text": _TEXT, "finish_reason": "stop"}, usage=_CHAT_USAGE
            ),
        ),
        (MESSAGES, _message()),
        (RESPONSES, _whole_response()),
    )
}
_STREAMS = {
    CHAT: _chat_stream(),
    COMPLETIONS: _completion_stream(),
    MESSAGES: _message_stream(),
    RESPONSES: _response_stream(),
}
