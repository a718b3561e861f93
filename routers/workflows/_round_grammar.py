"""The grammar of a planner's trace: think, call, information, answer; each fault has its words."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_NAMES = ("think", "call", "information", "answer")
_TAG = re.compile(rf"<(/?)({'|'.join(_NAMES)})>")
_LOOKS_LIKE_TAG = re.compile(rf"</?\s*(?:{'|'.join(_NAMES)})\b[^>]*>", re.IGNORECASE)
_TURN_ENDS = re.compile(r"</(?:call|answer)>")
_PLACEHOLDERS = ("llm-name", "your-query", "your-answer", "model-name")
_NO_THOUGHT = frozenset({"", "...", "…"})

MOST_QUERY_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Part:
    """What stands between a tag and its end."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class CallFor:
    """A sub-query, and the model that it is for."""

    model_id: str
    query: str


class TraceFaultError(ValueError):
    """A trace breaks the grammar; the message says how, for whoever wrote it."""


def turn_of(text: str) -> str:
    """Return a planner's turn up to the end of its call or answer: what it adds is made up."""
    end = _TURN_ENDS.search(text)
    return (text if end is None else text[: end.end()]).strip()


def parts_of(trace: str) -> list[Part]:
    """Take a trace apart.

    Raises
    ------
    TraceFaultError
        If tags are not balanced or stand in each other, or there is text outside of them.
    """
    parts, opened, at = list[Part](), "", 0
    for tag in _TAG.finditer(trace):
        between, name = trace[at : tag.start()], tag.group(2)
        if not tag.group(1):
            if opened:
                raise TraceFaultError(f"<{name}> stands inside of <{opened}>")
            _expect_nothing(between)
            opened = name
        else:
            if opened != name:
                raise TraceFaultError(f"</{name}> ends what was not begun")
            parts.append(Part(name, between.strip()))
            opened = ""
        at = tag.end()
    if opened:
        raise TraceFaultError(f"<{opened}> has no end")
    _expect_nothing(trace[at:])
    return parts


def check_trace(trace: str, model_ids: Collection[str], *, whole: bool = True) -> list[Part]:
    """Return the parts of a trace that keeps all rules.

    Parameters
    ----------
    model_ids
        Who may be called.
    whole
        Whether it has to have come to its answer; else its last part may be a call.

    Raises
    ------
    TraceFaultError
        If it breaks one; the message says which.

    References
    ----------
    Zhang et al. 2025, Router-R1, arXiv:2506.09033, and its code.
    """
    parts = parts_of(trace)
    names = [part.name for part in parts]
    if "think" not in names:
        raise TraceFaultError("there is no <think>")
    if names[0] != "think":
        raise TraceFaultError(f"the first tag has to be <think>, not <{names[0]}>")
    for part in parts:
        _check_part(part, model_ids)
    n_answers, n_calls = names.count("answer"), names.count("call")
    if n_answers > 1:
        raise TraceFaultError(f"there are {n_answers} answers, and one is wanted")
    if n_answers and names[-1] != "answer":
        raise TraceFaultError(f"the last tag has to be <answer>, not <{names[-1]}>")
    if whole and not n_answers:
        raise TraceFaultError("there is no <answer>")
    n_due = n_calls if whole or names[-1] != "call" else n_calls - 1
    if names.count("information") != n_due:
        raise TraceFaultError(
            f"there are {n_calls} calls and {names.count('information')} pieces of information"
        )
    for before, after in zip(names, [*names[1:], ""], strict=True):
        if after == "information" and before != "call":
            raise TraceFaultError("<information> follows no <call>")
    return parts


def check_turn(turn: str, model_ids: Collection[str]) -> CallFor | str:
    """Return the call that a planner's turn ends in, or the text of its answer.

    Raises
    ------
    TraceFaultError
        If it is no thought and one of these.
    """
    if any(part.name == "information" for part in parts_of(turn)):
        raise TraceFaultError("<information> is not yours to write")
    parts = check_trace(turn, model_ids, whole=False)
    last = parts[-1]
    if last.name == "answer":
        return last.text
    if last.name != "call":
        raise TraceFaultError("a turn ends in a <call> or in the <answer>")
    return call_for(last.text, model_ids)


def call_for(text: str, model_ids: Collection[str]) -> CallFor:
    """Return what a call says.

    Raises
    ------
    TraceFaultError
        If it is not `model: sub-query` of a model that may be called.
    """
    if text.count(":") != 1:
        raise TraceFaultError("a call has exactly one colon: `model: sub-query`")
    model_id, query = (each.strip() for each in text.split(":"))
    if model_id not in model_ids:
        raise TraceFaultError(
            f"there is no model {model_id[:80]!r}; there are: {', '.join(sorted(model_ids))}"
        )
    if not query:
        raise TraceFaultError("the sub-query is empty")
    if len(query) > MOST_QUERY_CHARS:
        raise TraceFaultError(f"the sub-query is longer than {MOST_QUERY_CHARS} characters")
    if model_id.casefold() in query.casefold():
        raise TraceFaultError("the sub-query repeats the name of its model")
    return CallFor(model_id, query)


def without_tags(text: str) -> str:
    """Return a text in which nothing can be taken for a part of a trace."""
    return _LOOKS_LIKE_TAG.sub(" ", text)


def joined(parts: Sequence[Part]) -> str:
    """Return parts as a trace."""
    return "\n".join(f"<{part.name}>{part.text}</{part.name}>" for part in parts)


def _check_part(part: Part, model_ids: Collection[str]) -> None:
    if part.name == "think" and part.text in _NO_THOUGHT:
        raise TraceFaultError("a <think> is empty")
    if part.name == "answer" and part.text in _NO_THOUGHT:
        raise TraceFaultError("the <answer> is empty")
    if part.name == "information":
        return  # whatever a model said
    lowered = part.text.casefold()
    for placeholder in _PLACEHOLDERS:
        if placeholder in lowered and placeholder not in model_ids:
            raise TraceFaultError(f"a template is not filled in: {placeholder!r}")
    if part.name == "call":
        call_for(part.text, model_ids)


def _expect_nothing(text: str) -> None:
    if text.strip():
        raise TraceFaultError(f"there is text outside of the tags: {text.strip()[:40]!r}")
