"""Made-up runs of agents: what a task costs until it is finished, by how models are chosen.

An agent works on tasks by calls of tools. A model that is equal to a task gets on with most calls;
one that is not does the same again and again, or fails. Before its work the agent has titles made.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routers.text.housekeeping import housekeeping_of
from routers.text.moves import Move, ToolCall, ToolResult
from routers.text.stalls import stall_of
from routers.types import Conversation, Message, Role

CHEAP, MIDDLE, DEAR = "cheap", "middle", "dear"
COST_USD = {CHEAP: 0.001, MIDDLE: 0.005, DEAR: 0.03}
_SKILL = {CHEAP: 0.6, MIDDLE: 0.8, DEAR: 0.97}
_STEPS = 5
_MAX_TURNS = 30
"""After so many calls the user gives up."""

Choose = Callable[[Sequence[Move], Conversation], str]
"""Which model takes the next call: by the conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What many tasks came to.

    Attributes
    ----------
    finished
        The share of the tasks that were.
    usd_per_finished
        All that was spent, over the tasks that were finished.
    usd_per_call
        The same over all calls.
    """

    finished: float
    usd_per_finished: float
    usd_per_call: float


def always(model_id: str) -> Choose:
    """Choose one model for everything."""
    return lambda _moves, _conversation: model_id


def escalating(moves: Sequence[Move], conversation: Conversation) -> str:
    """Begin cheaply, and raise the tier as the task stalls; housekeeping stays cheap."""
    if housekeeping_of(conversation) is not None:
        return CHEAP
    return (CHEAP, MIDDLE, DEAR, DEAR)[stall_of(moves).level]


def bill(choose: Choose, *, n_tasks: int, seed: int) -> Bill:
    """Have tasks done."""
    rng = random.Random(seed)
    finished = n_calls = 0
    spent_usd = 0.0
    for _ in range(n_tasks):
        done, calls = _task(choose, random.Random(rng.getrandbits(64)))
        finished += done
        n_calls += len(calls)
        spent_usd += sum(COST_USD[each] for each in calls)
    return Bill(
        finished=finished / n_tasks,
        usd_per_finished=spent_usd / max(finished, 1),
        usd_per_call=spent_usd / n_calls,
    )


def _task(choose: Choose, rng: random.Random) -> tuple[bool, list[str]]:
    hardness = rng.random()
    title = Conversation(
        (
            Message(Role.SYSTEM, "You are a title generator. You output ONLY a thread title."),
            Message(Role.USER, "Make the tests pass."),
        )
    )
    calls = [choose((), title)]
    moves = [Move(Role.USER, "Make the tests pass.")]
    steps = 0
    for turn in range(_MAX_TURNS):
        model_id = choose(moves, Conversation.of("Make the tests pass."))
        calls.append(model_id)
        able = _SKILL[model_id] >= hardness
        if rng.random() < (0.9 if able else 0.05):
            steps += 1
            if steps == _STEPS:
                return True, calls
            call = ToolCall(f"c{turn}", "edit", f'{{"step": {steps}, "turn": {turn}}}')
            result = ToolResult(call.call_id, f"Edited part {turn} of error_handling.py")
        elif able or rng.random() < 0.3:
            call = ToolCall(f"c{turn}", "read", f'{{"path": "src/{turn}.py"}}')
            result = ToolResult(call.call_id, "def raises():\n    raise ValueError('Error: no')")
        else:
            call = ToolCall(f"c{turn}", "bash", '{"command": "pytest -x"}')
            result = ToolResult(call.call_id, f"Exit code 1\n1 failed in 0.{turn}s")
        moves += [Move(Role.ASSISTANT, calls=(call,)), Move(Role.TOOL, results=(result,))]
    return False, calls
