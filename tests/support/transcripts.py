"""Conversations as agents and chat clients send them, in OpenAI's shape."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from app.wire.turns import TURNS, Turn

Message = dict[str, Any]

SYSTEM = {"role": "system", "content": "You are a careful engineer."}
TASK = {"role": "user", "content": "Why does the build fail on main?"}
TASK_PARTS = {"role": "user", "content": [{"type": "text", "text": "What is in the picture?"}]}
DONE = {"role": "assistant", "content": "The lock file is stale; I have renewed it."}
THANKS = {"role": "user", "content": "Thanks. And the nightly job?"}


def call(call_id: str, name: str = "read_file", **arguments: str) -> Message:
    """Return one tool call."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function}


def calling(*ids: str, content: str | None = None, **extra: Any) -> Message:
    """Return an assistant's message that makes calls, all at once."""
    calls = [call(each, path=f"{each}.py") for each in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls, **extra}


def result(call_id: str, content: str = "ok") -> Message:
    """Return a tool's answer."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def body(*messages: Message, **fields: Any) -> dict[str, bytes]:
    """Return a request's top-level fields as the bytes that a client sends."""
    return {
        key: json.dumps(value).encode() for key, value in {**fields, "messages": messages}.items()
    }


def turns_of(fields: dict[str, bytes]) -> Sequence[Turn]:
    """Return the messages of a body as the door parses them; none where it refuses them."""
    try:
        return TURNS.decode(fields["messages"])
    except (msgspec.DecodeError, RecursionError):
        return ()


OPEN_TOOL_LOOPS = {
    "the result of one call": [SYSTEM, TASK, calling("a"), result("a")],
    "the results of parallel calls": [SYSTEM, TASK, calling("a", "b"), result("a"), result("b")],
    "one of two parallel calls answered": [SYSTEM, TASK, calling("a", "b"), result("a")],
    "a call without its result": [SYSTEM, TASK, calling("a")],
    "the user speaks while a call is open": [
        SYSTEM,
        TASK,
        calling("a", "b"),
        result("b"),
        {"role": "user", "content": "Hurry up."},
    ],
    "the third round of a loop": [
        SYSTEM,
        TASK,
        calling("a"),
        result("a"),
        calling("b", "c", content="Two more files."),
        result("c"),
        result("b"),
        calling("d"),
        result("d"),
    ],
    "a second loop after a finished one": [
        SYSTEM,
        TASK,
        calling("a"),
        result("a"),
        DONE,
        THANKS,
        calling("e"),
        result("e"),
    ],
    "the old kind of call": [
        TASK,
        {"role": "assistant", "content": None, "function_call": {"name": "ls", "arguments": "{}"}},
        {"role": "function", "name": "ls", "content": "a.py"},
    ],
    "the old kind of call, unanswered": [
        TASK,
        {"role": "assistant", "content": None, "function_call": {"name": "ls", "arguments": "{}"}},
        {"role": "user", "content": "Well?"},
    ],
    "a call without an id": [
        TASK,
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]},
        {"role": "user", "content": "Well?"},
    ],
    "blocks in Anthropic's shape": [
        TASK,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "t1", "name": "ls", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a.py"}],
        },
    ],
}

CLOSED_TOOL_LOOPS = {
    "one question": [SYSTEM, TASK],
    "a finished loop": [SYSTEM, TASK, calling("a"), result("a"), DONE],
    "a new question after a finished loop": [
        SYSTEM,
        TASK,
        calling("a", "b"),
        result("b"),
        result("a"),
        DONE,
        THANKS,
    ],
    "a question right after the results": [
        SYSTEM,
        TASK,
        calling("a", "b"),
        result("a"),
        result("b"),
        THANKS,
    ],
    "no calls in an empty list": [TASK, {**DONE, "tool_calls": []}, THANKS],
    "no calls in a null": [TASK, {**DONE, "tool_calls": None, "function_call": None}, THANKS],
    "the old kind of call, answered": [
        TASK,
        {"role": "assistant", "content": None, "function_call": {"name": "ls", "arguments": "{}"}},
        {"role": "function", "name": "ls", "content": "a.py"},
        {"role": "user", "content": "And now?"},
    ],
    "talk of tools": [
        TASK,
        {**DONE, "content": 'I used "tool_use" and {"type": "tool_use"}.'},
        THANKS,
    ],
    "only an assistant's opening": [DONE],
}

_THOUGHT = "the user wants…"
SEALED_REASONING: dict[str, Message] = {
    "a signed block in reasoning_details": {
        **DONE,
        "reasoning_details": [
            {"type": "reasoning.text", "text": _THOUGHT, "signature": "EqQB…", "format": "x"}
        ],
    },
    "an encrypted item in reasoning_details": {
        **DONE,
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAAA…", "id": "rs_1"}],
    },
    "thinking blocks beside the content": {
        **DONE,
        "thinking_blocks": [{"type": "thinking", "thinking": _THOUGHT, "signature": "EqQB…"}],
    },
    "thinking within the content": {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": _THOUGHT, "signature": "EqQB…"},
            {"type": "text", "text": "Done."},
        ],
    },
    "redacted thinking": {
        "role": "assistant",
        "content": [{"type": "redacted_thinking", "data": "EmwK…"}],
    },
    "encrypted content of an item": {
        **DONE,
        "reasoning_items": [{"type": "reasoning", "encrypted_content": "gAAAA…", "summary": []}],
    },
    "encrypted content of the message": {**DONE, "encrypted_content": "gAAAA…"},
    "a signature on an answered call": {
        "role": "assistant",
        "content": "Fine.",
        "extra_content": {"google": {"thought_signature": "CpcB…"}},
    },
}

OPEN_REASONING: dict[str, Message] = {
    "plain text": {**DONE, "reasoning_content": _THOUGHT},
    "a block without a signature": {
        **DONE,
        "reasoning_details": [{"type": "reasoning.text", "text": _THOUGHT, "signature": None}],
    },
    "an empty signature": {
        **DONE,
        "thinking_blocks": [{"type": "thinking", "thinking": _THOUGHT, "signature": ""}],
    },
    "talk of signatures": {
        **DONE,
        "content": 'Set "signature": "abc" and {"encrypted_content": "x"}, or redacted_thinking.',
    },
}
