"""A request of Anthropic's Messages API as one of OpenAI's chat."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.dialects.base import Body, Refused

_TOOL_CHOICES = {"auto": "auto", "none": "none", "any": "required"}
_EFFORTS = ((2_000, "low"), (8_000, "medium"), (20_000, "high"))
_MIN_BUDGET_TOKENS = 1024


def to_chat(body: Body) -> dict[str, Any]:
    """Return the request as OpenAI's, as far as the stub's answers depend on it.

    Raises
    ------
    Refused
        Where the real API refuses: no limit, no messages, another role first than the user's, a
        tool's result that none asked for.
    """
    if "max_tokens" not in body:
        raise Refused("max_tokens: Field required")
    turns = body["messages"]
    roles = [each.get("role") for each in turns]
    if not roles or roles[0] != "user":
        raise Refused("messages: first message must use the user role")
    if not {"user", "assistant", "system"}.issuperset(roles):
        raise Refused("messages: roles must be user, assistant or system")
    _check_results(turns)
    chat: dict[str, Any] = {
        "messages": [message for turn in turns for message in _messages(turn)],
        "max_tokens": body["max_tokens"],
        "stop": body.get("stop_sequences"),
    }
    if body.get("system"):
        chat["messages"].insert(0, {"role": "system", "content": body["system"]})
    if body.get("tools"):
        chat["tools"] = list(_tools(body["tools"]))
    choice = body.get("tool_choice") or {"type": "auto"}
    chat["tool_choice"] = _TOOL_CHOICES.get(
        choice["type"], {"type": "function", "function": {"name": choice.get("name")}}
    )
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    output = body.get("output_config") or {}
    if output.get("format"):
        schema = {"schema": output["format"]["schema"]}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**chat, **_thinking(body, output)}


def _check_results(turns: list[Mapping[str, Any]]) -> None:
    """Refuse calls that are not answered at once, where both sides have ids.

    Raises
    ------
    Refused
        With the real API's words, which clients look for.
    """
    for i, turn in enumerate(turns):
        asked = {each.get("id") for each in _blocks(turn) if each["type"] == "tool_use"}
        following = _blocks(turns[i + 1]) if i + 1 < len(turns) else []
        told = {each.get("tool_use_id") for each in following if each["type"] == "tool_result"}
        if asked - told:
            raise Refused(
                f"messages.{i + 1}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(sorted(map(str, asked - told)))}."
            )


def _blocks(turn: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = turn["content"]
    return content if isinstance(content, list) else []


def _messages(turn: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content, blocks = turn["content"], _blocks(turn)
    results = [each for each in blocks if each["type"] == "tool_result"]
    for each in results:
        yield {"role": "tool", "content": each.get("content")}
    if len(blocks) > len(results) or isinstance(content, str):
        # What stands beside results, such as a program's reminder, is no new question.
        yield {"role": "developer" if results else turn["role"], "content": content}


def _tools(tools: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in tools:
        if "input_schema" in each:  # tools of the API itself are run by nobody here
            told = {
                "name": each["name"],
                "description": each.get("description"),
                "parameters": each["input_schema"],
            }
            yield {"type": "function", "function": told}


def _thinking(body: Body, output: Mapping[str, Any]) -> dict[str, Any]:
    thinking = body.get("thinking") or {}
    effort = output.get("effort") or "high"
    match thinking.get("type"):
        case "enabled":
            budget = thinking["budget_tokens"]
            if not _MIN_BUDGET_TOKENS <= budget < body["max_tokens"]:
                raise Refused(
                    "`max_tokens` must be greater than `thinking.budget_tokens`, "
                    f"which must be at least {_MIN_BUDGET_TOKENS}"
                )
            by_budget = (name for limit, name in _EFFORTS if budget <= limit)
            return {"thinks": True, "reasoning_effort": next(by_budget, "max")}
        case "adaptive":
            return {"reasoning_effort": effort}
        case _:
            return {}
