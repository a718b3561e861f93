"""Which tool a simulated model calls, and with which arguments."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.examples import example

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_OF_ANY_TOOL = frozenset(
    {"a", "agent", "and", "by", "call", "do", "fetch", "for", "from", "function", "get", "handoff"}
    | {"in", "list", "make", "my", "new", "of", "on", "run", "set", "the", "to", "tool"}
    | {"transfer", "use", "with"}
)
"""Words of names that say nothing about what a tool is for."""


def called_tool(body: Mapping[str, Any], prompt: str) -> tuple[str, object] | None:
    """Return the name and the arguments of the tool that is called; None where none is.

    A tool is called where one is demanded, and where the prompt names it or what it is about. No
    tool is called twice for one prompt if another one will do, so that an agent comes to its end.

    Parameters
    ----------
    prompt
        The text of the newest user message.
    """
    functions = list(_functions(body))
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return None
    called = _called_since_asked(body)
    fresh = [each for each in functions if each["name"] not in called]
    function: Mapping[str, Any] | None
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        function = next((each for each in functions if each["name"] == name), None)
    elif choice == "required":
        # Where all were called the last one is: agents put the tool that gives their output there.
        function = _meant(fresh, prompt) or (fresh or functions[-1:])[0]
    elif called or not _is_answered(body):
        function = _meant(fresh, prompt)
    else:
        function = None
    if function is None:
        return None
    return function["name"], example(function.get("parameters") or {}, prompt=prompt)


def _functions(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for tool in body.get("tools") or []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function


def _is_answered(body: Mapping[str, Any]) -> bool:
    last = (body.get("messages") or [None])[-1]
    return isinstance(last, dict) and last.get("role") == "tool"


def _called_since_asked(body: Mapping[str, Any]) -> set[object]:
    """Return the names of the tools that were called since the user last spoke."""
    called: set[object] = set()
    for message in reversed(body.get("messages") or []):
        if not isinstance(message, dict):
            continue
        if message.get("role") == "user":
            break
        for call in message.get("tool_calls") or ():
            called.add((call.get("function") or {}).get("name"))
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_use":
                called.add(block.get("name"))
    return called


def _meant(functions: list[Mapping[str, Any]], prompt: str) -> Mapping[str, Any] | None:
    """Return the function that the prompt names, else the one whose words it has most of."""
    for each in functions:
        if each["name"] and each["name"] in prompt:
            return each
    said = {_stem(word) for word in re.findall(r"\w+", prompt.casefold())}
    shared = [len(said & _subject(each["name"])) for each in functions]
    best = max(shared, default=0)
    return functions[shared.index(best)] if best else None


def _subject(name: str) -> set[str]:
    words = {word.casefold() for word in _WORDS.findall(name)}
    return {_stem(word) for word in words - _OF_ANY_TOOL}


def _stem(word: str) -> str:
    """Return a word without its plural, roughly."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
