"""A request of OpenAI's Responses API as one of chat."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.dialects.base import Body, Refused

_CALLS = {
    "function_call": "arguments",
    "custom_tool_call": "input",
}
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_MIN_OUTPUT_TOKENS = 16


def refusal(body: Body) -> str | None:
    """Return what is wrong with a request, in the order in which the real API looks."""
    if not isinstance(body.get("input"), str | list) or body["input"] == []:
        return "Missing required parameter: 'input'."
    limit = body.get("max_output_tokens")
    if isinstance(limit, int) and limit < _MIN_OUTPUT_TOKENS:
        return f"'max_output_tokens' must be at least {_MIN_OUTPUT_TOKENS}."
    names = [each.get("name") for each in body.get("tools") or [] if isinstance(each, dict)]
    named = [name for name in names if name]
    if len(named) != len(set(named)):
        return "Tool names must be unique."
    return None


def to_chat(body: Body) -> dict[str, Any]:
    """Return the request as one of chat, as far as the stub's answers depend on it.

    Raises
    ------
    Refused
        Where the real API refuses: an earlier response (none is kept here), a call without its
        output, an output without its call.
    """
    if body.get("previous_response_id") is not None:
        message = f"Previous response with id '{body['previous_response_id']}' not found."
        raise Refused(message, code="previous_response_not_found")
    sent = body["input"]
    items = [{"role": "user", "content": sent}] if isinstance(sent, str) else sent
    _check_outputs(items)
    messages = [message for item in items for message in _messages(item)]
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    chat: dict[str, Any] = {
        "messages": messages,
        "tools": list(_tools(body.get("tools") or [])),
        "tool_choice": _choice(body.get("tool_choice")),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "max_completion_tokens": body.get("max_output_tokens"),
        "reasoning_effort": (body.get("reasoning") or {}).get("effort")
        or ("medium" if body.get("reasoning") else None),
    }
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": wanted}
    elif wanted.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    return chat


def _check_outputs(items: list[Mapping[str, Any]]) -> None:
    called = {each.get("call_id") for each in items if each.get("type") in _CALLS}
    told = {each.get("call_id") for each in items if each.get("type") in _OUTPUTS}
    for missing in sorted(map(str, called - told)):
        raise Refused(f"No tool output found for function call {missing}.")
    for missing in sorted(map(str, told - called)):
        raise Refused(f"No tool call found for function call output with call_id {missing}.")


def _messages(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = item.get("type", "message")
    if kind == "message":
        yield {"role": item["role"], "content": item["content"]}
    elif kind in _CALLS:
        told = item[_CALLS[kind]]
        arguments = told if kind == "function_call" else json.dumps({"input": told})
        call = {"function": {"name": item["name"], "arguments": arguments}}
        yield {"role": "assistant", "tool_calls": [call]}
    elif kind in _OUTPUTS:
        yield {"role": "tool", "content": item.get("output")}


def _tools(
    tools: list[Mapping[str, Any]], namespace: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield functions and custom tools; those of the API itself are run by nobody here."""
    for each in tools:
        kind = each.get("type")
        if kind == "namespace":
            yield from _tools(each.get("tools") or [], each.get("name"))
        elif kind in ("function", "custom"):
            yield {"type": kind, kind: each, "namespace": namespace}


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return {"type": "allowed_tools", "allowed_tools": choice}
    if isinstance(choice, dict) and choice.get("type") not in ("function", "custom"):
        return "auto"
    return choice
