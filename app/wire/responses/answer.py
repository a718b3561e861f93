"""A chat completion as a Response: its object, its items and its token counts."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.usage import Usage
from app.wire.chat_answer import Call, Choice, Said, read_completion, token_logprobs
from app.wire.responses.sealed import seal
from app.wire.tool_names import ToolKind, ToolNames

_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "auto",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""The fields of a request that its Response repeats, and what stands there where it has none."""

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Ids:
    """Ids of one Response and its items, all different."""

    __slots__ = ("_n", "_token", "response")

    def __init__(self, token: str | None = None) -> None:
        self._token = token or secrets.token_hex(16)
        self._n = 0
        self.response = f"resp_{self._token}"

    def item(self, prefix: str) -> str:
        """Return the id of another item, such as `msg_…`."""
        self._n += 1
        return f"{prefix}_{self._token}{self._n:04x}"


def echo_of(body: Mapping[str, bytes], *, store: bool = False) -> dict[str, Any]:
    """Return what a Response repeats of its request."""
    echo = {
        name: default if body.get(name, b"null") == b"null" else _as_sent(body[name])
        for name, default in _ECHOED.items()
    }
    echo["store"] = store
    return echo


def _as_sent(value: bytes) -> msgspec.Raw:
    """Return a value as it was sent, in one line: it may hold numbers that no decoder takes."""
    return msgspec.Raw(value.replace(b"\n", b" ").replace(b"\r", b" "))


def response_object(
    ids: Ids,
    echo: Mapping[str, Any],
    *,
    status: str,
    created_at: int,
    model: str,
    output: Sequence[Any] = (),
    usage: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    incomplete: str | None = None,
    completed_at: int | None = None,
) -> dict[str, Any]:
    """Return a Response with all the fields that clients require."""
    return {
        "id": ids.response,
        "object": "response",
        "created_at": created_at,
        "completed_at": completed_at,
        "status": status,
        "error": error,
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "model": model,
        "output": output,
        "usage": usage,
        **echo,
    }


def status_of(finish_reason: str | None) -> tuple[str, str | None]:
    """Return the status of an answer that ended for a reason, and why it is incomplete if it is."""
    incomplete = _INCOMPLETE.get(finish_reason or "")
    return ("completed", None) if incomplete is None else ("incomplete", incomplete)


def usage_object(usage: Usage | None, *, cost_usd: float | None) -> dict[str, Any] | None:
    """Return token counts in the words of Responses, with what the answer cost."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cost_usd": cost_usd,
    }


def reasoning_item(
    item_id: str, text: str, sealed: str | None, *, status: str | None = None
) -> dict[str, Any]:
    """Return an item of thinking; `sealed` is what the model needs back of it."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    item: dict[str, Any] = {"id": item_id, "type": "reasoning", "summary": summary}
    if sealed is not None:
        item["encrypted_content"] = sealed
    if status is not None:
        item["status"] = status
    return item


def message_item(item_id: str, content: Sequence[Any], *, status: str) -> dict[str, Any]:
    """Return an item of what the model says."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def text_part(text: str, logprobs: Sequence[Any] = ()) -> dict[str, Any]:
    """Return a part of text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def refusal_part(refusal: str) -> dict[str, Any]:
    """Return a part that refuses."""
    return {"type": "refusal", "refusal": refusal}


def call_item(
    item_id: str, call_id: str, flat_name: str, arguments: str, names: ToolNames, *, status: str
) -> dict[str, Any]:
    """Return an item that calls a tool, under the name that its client gave it."""
    tool = names.tool(flat_name)
    item: dict[str, Any] = {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": tool.name,
    }
    if tool.namespace is not None:
        item["namespace"] = tool.namespace
    if tool.kind is ToolKind.CUSTOM:
        item["type"] = "custom_tool_call"
        item["input"] = custom_input(arguments)
    else:
        item["arguments"] = arguments
    return item


def custom_input(arguments: str) -> str:
    """Return the text that a call of a custom tool hands over, out of a function's arguments."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def name_of(call: Call) -> str:
    """Return what a call calls.

    Raises
    ------
    UpstreamInvalidResponseError
        If that is nothing.
    """
    if call.function is None or not call.function.name:
        raise UpstreamInvalidResponseError("the upstream called a tool without a name")
    return call.function.name


def response_of(
    body: bytes,
    ids: Ids,
    echo: Mapping[str, Any],
    names: ToolNames,
    *,
    usage: Mapping[str, Any] | None,
    now: int,
) -> dict[str, Any]:
    """Return a whole chat completion as a Response.

    Raises
    ------
    UpstreamInvalidResponseError
        If it is none, or calls a tool without a name.
    """
    completion = read_completion(body)
    choice = completion.first or Choice()
    message = choice.said or Said()
    status, incomplete = status_of(choice.finish_reason)
    output: list[dict[str, Any]] = []
    field, thinking = message.thought
    sealed = seal(
        {
            "thinking_blocks": message.thinking_blocks,
            "reasoning_details": message.reasoning_details,
        },
        field=field if thinking else "",
    )
    if thinking or sealed:
        output.append(reasoning_item(ids.item("rs"), thinking, sealed))
    parts: list[dict[str, Any]] = []
    if message.text:
        parts.append(text_part(message.text, token_logprobs(choice.logprobs)))
    if message.refusal:
        parts.append(refusal_part(message.refusal))
    if parts or not message.calls:
        output.append(message_item(ids.item("msg"), parts or [text_part("")], status=status))
    output += [
        call_item(
            ids.item("fc"),
            call.id or ids.item("call"),
            name_of(call),
            "" if call.function is None else call.function.written,
            names,
            status=status,
        )
        for call in message.calls
    ]
    return response_object(
        ids,
        echo,
        status=status,
        created_at=completion.created_unix_s or now,
        completed_at=now if status == "completed" else None,
        model=completion.model or "",
        output=output,
        usage=usage,
        incomplete=incomplete,
    )
