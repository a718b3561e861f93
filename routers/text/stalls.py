"""Whether an agent gets on: the same call again, tools that fail, the same question, refusals.

Everything is read from the conversation as it is sent, so that nothing has to be remembered: what
went wrong in a task stands in it until the task is over.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from routers.text.moves import Move, ToolResult
from routers.types import Role

MAX_LEVEL = 3
"""However much goes wrong."""

_MAX_MOVES = 200
"""Of a longer conversation its end is read."""

_SAME_CALLS = 3
"""So many equal calls with equal results are a stall; of failing ones in a row, two."""

_FAILURES = 3
"""So many failures in a row are a stall."""

_ALIKE = 0.85
_ALIKE_WORDS = 4
"""Questions of fewer words are the same only if they are equal."""
_MAX_QUESTION_CHARS = 2_000
_MAX_QUESTIONS = 10
"""Of a task so many are held against a new one."""

_MAX_NOTES = 50
_MAX_REFUSAL_CHARS = 700

_NOTE = re.compile(
    r"<(system-reminder|environment_context|environment_details|user_instructions|ide_selection"
    r"|ide_opened_file|local-command-\w{1,20}|command-\w{1,20})>"
)
"""What harnesses put into users' messages."""

_WORD = re.compile(r"\w+")

_GO_ON = frozenset(
    {
        "continue", "please continue", "go on", "go ahead", "proceed", "keep going", "carry on",
        "resume", "yes", "y", "ok", "okay", "yes please", "sure", "next", "do it", "weiter",
        "continue from where you left off",
    }
)  # fmt: skip
"""Not a new task, and nothing wrong."""

_AGAIN = frozenset(
    {
        "try again", "please try again", "retry", "again", "once more", "still failing",
        "still fails", "still not working", "it still fails", "it still does not work",
        "still broken", "same error", "same problem", "same issue", "that did not work",
        "it does not work", "that does not work", "not fixed", "nope", "wrong", "still wrong",
        "nochmal", "noch einmal", "versuch es nochmal",
    }
)  # fmt: skip
"""The same question, in fewer words."""

_REFUSAL = re.compile(
    r"(?:(?:i'?m|i am)(?: very| really| so)? sorry|sorry|i apologi[sz]e|unfortunately)?"
    r"\W*(?:but |however\W+)?(?:as an ai\b[\w ]{0,30}\W+)?"
    r"(?:i (?:can'?t|cannot|can not|am not able to|am unable to|won'?t|will not|must decline to"
    r"|have to decline to|must refuse to)|i'm (?:not able|unable) to)"
    r" (?:help|assist|comply|fulfil|do (?:that|this)|provide|answer|continue with|support|engage"
    r"|discuss|generate|share|participate)",
    re.IGNORECASE,
)

_POLLS = re.compile(
    r"(?:^|[_\W])(?:wait|poll|sleep|status|monitor|write_?stdin|(?:bash|task)_?output|get_?(?:task|job)s?)"
    r"(?:$|[_\W])",
    re.IGNORECASE,
)
"""Tools that are asked again until something happens."""


class StallReason(StrEnum):
    """Why somebody seems not to get on; a header and a metric label."""

    REPEATED_CALL = "repeated_call"
    """The same call with the same arguments and the same result."""
    FAILING_CALLS = "failing_calls"
    """Tools fail, one time after the other."""
    ASKED_AGAIN = "asked_again"
    """The user asks what was asked before."""
    REFUSED = "refused"
    """The model refused, and the user goes on asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """How much of a task went wrong.

    Attributes
    ----------
    level
        From 0, for nothing, to `MAX_LEVEL`.
    reasons
        In the order of the enumeration.
    """

    level: int
    reasons: tuple[StallReason, ...] = ()


NO_STALL = Stall(level=0)


def stall_of(moves: Sequence[Move]) -> Stall:
    """Return how much went wrong since the user began the task that is being worked on.

    Parameters
    ----------
    moves
        The messages of the conversation, oldest first.
    """
    told = [each for each in moves[-_MAX_MOVES:] if each.role is not Role.SYSTEM]
    asked_again, refused, begun = _asked(told)
    outcomes = _outcomes(told[begun:])
    points = {
        StallReason.REPEATED_CALL: _repeated(outcomes),
        StallReason.FAILING_CALLS: _failing(outcomes) // _FAILURES,
        StallReason.ASKED_AGAIN: asked_again,
        StallReason.REFUSED: refused,
    }
    level = min(sum(points.values()), MAX_LEVEL)
    if level == 0:
        return NO_STALL
    return Stall(level=level, reasons=tuple(each for each, n in points.items() if n))


# --- what users ask ---------------------------------------------------------------------------


def _asked(moves: Sequence[Move]) -> tuple[int, int, int]:
    """Return how often the task was asked for again or refused, and where it begins."""
    begun = again = refused = 0
    questions: list[list[str]] = []
    answered = was_refused = False
    for index, move in enumerate(moves):
        if move.role is Role.ASSISTANT:
            if not move.calls and (move.text or move.refused):
                answered, was_refused = True, move.refused or is_refusal(move.text)
            continue
        words = _question(move)
        if words is None:
            continue
        if answered and questions:
            phrase = " ".join(words)
            if was_refused:
                refused += 1
            elif phrase in _AGAIN or any(_alike(words, each) for each in questions):
                again += 1
            elif phrase not in _GO_ON:
                begun, again, refused, questions = index, 0, 0, []
        if " ".join(words) not in _AGAIN | _GO_ON:
            questions = [*questions[1 - _MAX_QUESTIONS :], words]
        answered = was_refused = False
    return again, refused, begun


def _question(move: Move) -> list[str] | None:
    """Return the words of what a user asks; None where a message asks nothing of its own."""
    if move.role is not Role.USER:
        return None
    text = move.text[: 4 * _MAX_QUESTION_CHARS]
    if "<" in text:
        text = _without_notes(text)
    return _WORD.findall(text[:_MAX_QUESTION_CHARS].casefold()) or None


def _without_notes(text: str) -> str:
    """Leave out what harnesses put into a message."""
    kept, at = [], 0
    for _ in range(_MAX_NOTES):
        note = _NOTE.search(text, at)
        end = -1 if note is None else text.find(f"</{note[1]}>", note.end())
        if note is None or end < 0:
            break
        kept.append(text[at : note.start()])
        at = end + len(note[1]) + 3
    return " ".join([*kept, text[at:]])


def _alike(words: list[str], others: list[str]) -> bool:
    if words == others:
        return len(words) > 1
    fewest, most = sorted((len(words), len(others)))
    if fewest < _ALIKE_WORDS or fewest < _ALIKE * most:
        return False
    # What two requests for the same work on different things differ in are names and numbers.
    only, missing = set(words) - set(others), set(others) - set(words)
    if (only and missing) or any(word.isdigit() for word in (*only, *missing)):
        return False
    common = sum((Counter(words) & Counter(others)).values())
    return common >= _ALIKE * most


def is_refusal(text: str) -> bool:
    """Return whether an answer refuses, and does nothing else."""
    if len(text) > _MAX_REFUSAL_CHARS:
        return False
    return _REFUSAL.match(text.strip().replace("\u2019", "'")) is not None


# --- what tools gave --------------------------------------------------------------------------


class _Outcome(NamedTuple):
    """What came of a call: what the call was, where that is known, and whether it failed."""

    call: tuple[str, str] | None
    result: ToolResult
    failed: bool


def _outcomes(moves: Sequence[Move]) -> list[_Outcome]:
    calls = {call.call_id: call.same_as for move in moves for call in move.calls}
    return [
        _Outcome(calls.get(result.call_id), result, result.is_failure)
        for move in moves
        for result in move.results
    ]


def _repeated(outcomes: Sequence[_Outcome]) -> int:
    """Return how much of a stall repeated calls are: 0, 1 or 2."""
    often = Counter(each.call for each in outcomes)
    counts: Counter[tuple[tuple[str, str], str]] = Counter()
    most = 0
    last: tuple[tuple[str, str], str] | None = None
    for call, result, failed in outcomes:
        if call is None or often[call] == 1:
            last = None
            continue
        both = (call, result.same_as)
        if failed or not _POLLS.search(call[0]):
            counts[both] += 1
            # One that fails twice in a row says as much as one that succeeds three times.
            most = max(most, counts[both] + (failed and both == last))
        last = both
    if most < _SAME_CALLS:
        return 0
    return 2 if most >= 2 * _SAME_CALLS else 1


def _failing(outcomes: Sequence[_Outcome]) -> int:
    """Return the most failures in a row."""
    most = streak = 0
    for each in outcomes:
        streak = streak + 1 if each.failed else 0
        most = max(most, streak)
    return most
