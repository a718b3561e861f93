"""What an agent did, read from what clients send."""

import json

import pytest

from app.wire.moves import MAX_TURNS, moves_of
from app.wire.turns import TURNS
from routers.text.moves import Move, ToolCall, ToolResult
from routers.text.stalls import StallReason, stall_of
from routers.types import Role
from tests.support.transcripts import OPEN_TOOL_LOOPS, SYSTEM, TASK, body, calling, result, turns_of


def read(*messages):
    return moves_of(TURNS.decode(json.dumps(messages)))


def test_calls_and_results_of_chat_completions():
    assert read(TASK, calling("a", content="Let me look."), result("a", "Exit code 1")) == [
        Move(Role.USER, TASK["content"]),
        Move(
            Role.ASSISTANT,
            "Let me look.",
            calls=(ToolCall("a", "read_file", '{"path": "a.py"}'),),
        ),
        Move(Role.TOOL, results=(ToolResult("a", "Exit code 1"),)),
    ]


def test_calls_and_results_in_blocks():
    use = {"type": "tool_use", "id": "t1", "name": "ls", "input": {"path": "/"}}
    given = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "No."}],
        "is_error": True,
    }
    assert read(
        {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}, use]},
        {"role": "user", "content": [given, {"type": "text", "text": "Well?"}]},
    ) == [
        Move(Role.ASSISTANT, "Let me look.", calls=(ToolCall("t1", "ls", '{"path":"/"}'),)),
        Move(Role.USER, "Well?", results=(ToolResult("t1", "No.", failed=True),)),
    ]


def test_the_old_kind_of_calls():
    moves = read(
        {"role": "assistant", "content": None, "function_call": {"name": "ls", "arguments": "{}"}},
        {"role": "function", "name": "ls", "content": "a.py"},
    )
    assert moves[0].calls[0].call_id == moves[1].results[0].call_id


def test_refusals_are_marked():
    assert read({"role": "assistant", "content": None, "refusal": "No."})[0].refused
    assert read({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]})[
        0
    ].refused


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": 3, "function_call": "x"},
        {"role": "assistant", "tool_calls": [None, {"id": 1}, {"function": {}}]},
        {"role": "user", "content": [None, 3, {"type": "text"}, {"type": "tool_result"}]},
        {"role": "user", "content": {"type": "text"}},
        {"role": "tool", "tool_call_id": {"a": 1}, "content": None},
        {"role": "alien", "content": "x"},
    ],
)
def test_what_cannot_be_read_does_nothing(message):
    assert stall_of(read(message, message)).level == 0


@pytest.mark.parametrize("transcript", OPEN_TOOL_LOOPS.values(), ids=OPEN_TOOL_LOOPS)
def test_loops_that_get_on_are_no_stalls(transcript):
    assert stall_of(moves_of(turns_of(body(*transcript)))).level == 0


def test_a_long_conversation_is_read_from_its_end():
    failing = [each for n in range(3) for each in (calling(f"{n}"), result(f"{n}", "Error: no"))]
    moves = read(SYSTEM, *[TASK] * 500, *failing)
    assert len(moves) == MAX_TURNS
    assert stall_of(moves).reasons == (StallReason.FAILING_CALLS,)
