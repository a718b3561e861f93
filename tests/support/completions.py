"""Chat completions as upstreams give them, whole and as the streams that come to the same."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.providers.base import Chunk

_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def completion(*messages: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a completion with one choice per message."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "small-2026-01-01",
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": None} | message,
                "logprobs": None,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            }
            for index, message in enumerate(messages)
        ],
        "usage": _USAGE,
        **changes,
    }


def text_answer(text: str, *, finish_reason: str | None = "stop") -> dict[str, Any]:
    """Return a completion of one text."""
    answer = completion({"content": text})
    answer["choices"][0]["finish_reason"] = finish_reason
    return answer


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


_LOGPROB = {"token": "ok", "logprob": -0.25, "bytes": [111, 107], "top_logprobs": []}


def _with_logprobs() -> dict[str, Any]:
    answer = text_answer("ok")
    answer["choices"][0]["logprobs"] = {"content": [_LOGPROB, _LOGPROB], "refusal": []}
    return answer


_CITED = {"start_index": 4, "end_index": 7, "title": "A page", "url": "https://example.com"}

COMPLETIONS: Mapping[str, dict[str, Any]] = {
    "a text": text_answer("Zwölf Boxkämpfer — 你好\n\n\tdata: [DONE]\n"),
    "no text at all": text_answer(""),
    "several choices": completion({"content": "one"}, {"content": "two"}),
    "a refusal": completion({"refusal": "I cannot help with that."}),
    "reasoning and a text": completion({"content": "42", "reasoning_content": "6 times 7"}),
    "one call": completion({"tool_calls": [_call("a", "read_file", '{"path": "a.py"}')]}),
    "parallel calls after a text": completion(
        {
            "content": "Let me look.",
            "tool_calls": [_call("a", "read_file", '{"path": "a"}'), _call("b", "ls", "{}")],
        }
    ),
    "log-probabilities": _with_logprobs(),
    "citations": completion(
        {"content": "see [1]", "annotations": [{"type": "url_citation", "url_citation": _CITED}]},
        citations=["https://example.com"],
        service_tier="default",
    ),
}


def as_stream(answer: Mapping[str, Any]) -> list[Chunk]:
    """Return a completion the way upstreams stream it, with keep-alives in between."""
    events = list(_events(answer))
    usage_event = {**_head(answer), "choices": [], "usage": answer["usage"]}
    chunks = [Chunk(data=b": ping\n\n")]
    # Two events a read, so that a read is not an event.
    for i in range(0, len(events), 2):
        data = b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events[i : i + 2])
        chunks.append(Chunk(data=data))
    return [*chunks, Chunk(data=b"", usage_event=json.dumps(usage_event).encode())]


def _head(answer: Mapping[str, Any]) -> dict[str, Any]:
    head = {key: value for key, value in answer.items() if key not in ("choices", "usage")}
    return head | {"object": "chat.completion.chunk", "obfuscation": "x7"}


def _events(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    def event(index: int, delta: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        piece = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **rest}
        return {**_head(answer), "choices": [piece], "usage": None}

    for choice in answer["choices"]:
        index, message = choice["index"], choice["message"]
        yield event(index, {"role": "assistant", "content": None, "refusal": None})
        for key in ("reasoning_content", "refusal", "content"):
            text = message.get(key)
            if text is not None:
                for i in range(0, max(len(text), 1), 3):
                    yield event(index, {key: text[i : i + 3]})
        for entry in (choice["logprobs"] or {}).get("content", []):
            yield event(index, {}, logprobs={"content": [entry], "refusal": []})
        for each in message.get("annotations", []):
            yield event(index, {"annotations": [each]})
        for i, call in enumerate(message.get("tool_calls", [])):
            arguments = call["function"]["arguments"]
            opening = {**call, "function": {**call["function"], "arguments": ""}}
            yield event(index, {"tool_calls": [{"index": i, **opening}]})
            for j in range(0, len(arguments), 4):
                piece = {"index": i, "function": {"arguments": arguments[j : j + 4]}}
                yield event(index, {"tool_calls": [piece]})
        yield event(index, {}, finish_reason=choice["finish_reason"])
