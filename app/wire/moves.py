"""What an agent did, read from the messages of a request, in OpenAI's shape and in Anthropic's."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from app.wire.decoding import read_or_none
from app.wire.turns import Turn, call_by_name
from routers.text.moves import Move, ToolCall, ToolResult
from routers.types import ROLES, Role

MAX_TURNS = 200
"""Of a longer conversation its end is read."""

_TEXTS = frozenset({"text", "input_text", "output_text"})


def moves_of(turns: Sequence[Turn]) -> list[Move]:
    """Return what the newest messages say and do; what cannot be read does nothing."""
    return [_move(turn) for turn in turns[-MAX_TURNS:]]


def _move(turn: Turn) -> Move:
    role = ROLES.get(turn.role, Role.USER)
    content = read_or_none(turn.content)
    parts = (
        [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    )
    text = _text(content)
    results = [*_results(parts)]
    if role is Role.TOOL:
        call_id = (
            call_by_name(read_or_none(turn.name)) if turn.role == "function" else turn.tool_call_id
        )
        name = call_id if isinstance(call_id, str) else str(read_or_none(call_id))
        results.append(ToolResult(name, text))
        text = ""
    return Move(
        role,
        text,
        calls=(*_calls(turn), *_uses(parts)),
        results=tuple(results),
        refused=turn.refusal is not None or any(part.get("type") == "refusal" for part in parts),
    )


def _calls(turn: Turn) -> Iterator[ToolCall]:
    calls = read_or_none(turn.tool_calls)
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        function = call.get("function") or call.get("custom")
        if isinstance(function, dict):
            arguments = function.get("arguments", function.get("input"))
            yield ToolCall(str(call.get("id", "")), str(function.get("name")), _written(arguments))
    function = read_or_none(turn.function_call)
    if isinstance(function, dict):
        name = function.get("name")
        yield ToolCall(call_by_name(name), str(name), _written(function.get("arguments")))


def _uses(parts: Sequence[dict[str, Any]]) -> Iterator[ToolCall]:
    for part in parts:
        if part.get("type") == "tool_use":
            yield ToolCall(
                str(part.get("id", "")), str(part.get("name")), _written(part.get("input"))
            )


def _results(parts: Sequence[dict[str, Any]]) -> Iterator[ToolResult]:
    for part in parts:
        if part.get("type") == "tool_result":
            failed = part.get("is_error")
            yield ToolResult(
                str(part.get("tool_use_id", "")),
                _text(part.get("content")),
                failed if isinstance(failed, bool) else None,
            )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(
        part["text"]
        for part in content
        if isinstance(part, dict)
        and part.get("type") in _TEXTS
        and isinstance(part.get("text"), str)
    )


def _written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
