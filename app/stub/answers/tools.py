"""Which tools a simulated model calls, and with which arguments."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from app.stub.answers.conversation import Conversation, plain
from app.stub.answers.examples import example
from app.stub.answers.prompt_values import Prompt, kinds_of, without_dates, words_of
from app.stub.answers.vocabulary import OF_ANY_TOOL, SAID_FOR, stem

_OPERATORS = {
    r"\*|[x\u00d7]|times": "multiply",
    r"\+|plus": "add",
    "-|minus": "subtract",
    "/|\u00f7": "divide",
}
_GIVES_OUTPUT = re.compile(r"final|respond|submit|output|answer|structured|result", re.IGNORECASE)
_NEEDED = frozenset({"path", "command", "url"})
"""Kinds of arguments without which a tool is not called of its own accord: agents do call it."""
_BY_NAME, _BY_MEANING, _BY_DESCRIPTION = 3.0, 2.0, 1.0
_ENOUGH = 2.0
_MAX_CALLS = 8
_MAX_QUESTION_CHARS = 600  # of a long prompt, at its beginning and at its end


class Called(NamedTuple):
    """A call: of a function with a value for its arguments, of a custom tool with a text."""

    name: str
    arguments: object
    custom: bool = False
    namespace: str | None = None


def called_tools(body: Mapping[str, Any], conversation: Conversation) -> list[Called]:
    """Return the tools that are called now; none where the answer is a text.

    A tool is called where one is demanded, and where the prompt names it or what it is about. No
    tool is called more often for one prompt than the prompt has things to ask of it, so that an
    agent comes to its end.
    """
    tools = list(_tools(body))
    demanded, tools = _choice(body.get("tool_choice"), tools)
    if not tools or demanded is None:
        return []
    prompt = Prompt(conversation.prompt, conversation.known())
    planned = _planned(tools, prompt)
    left = _not_yet_called(planned, conversation.called)
    if conversation.results and not conversation.called:
        left = []  # they are answered, whoever called them
    if not left and demanded:
        # Where all were called the last one is: agents put the tool that gives their output there.
        fresh = [each for each in tools if each.name not in conversation.called]
        giving = [each for each in fresh if _GIVES_OUTPUT.search(each.name)]
        chosen = (giving or fresh or tools[-1:])[0]
        left = [chosen.called(prompt, told=_told(conversation))]
    alone = body.get("parallel_tool_calls") is False
    return left[: 1 if alone else _MAX_CALLS]


class _Tool(NamedTuple):
    name: str
    description: str
    parameters: Mapping[str, Any]
    custom: bool
    namespace: str | None

    def called(self, prompt: Prompt, *, told: str = "") -> Called:
        """Return a call of this tool, with what the prompt says."""
        if self.custom:
            return Called(self.name, _custom_input(self.name, prompt), True, self.namespace)
        made = example(self.parameters, prompt=prompt, sparse=True, told=told)
        return Called(self.name, made if isinstance(made, dict) else {}, False, self.namespace)

    def several(self, text: str, known: Mapping[str, object]) -> list[Called]:
        """Return a call for each of the things that the prompt lists; one where it lists none."""
        name = self._listed_name()
        values = Prompt(text).series_for(name) if name else []
        if len(values) < 2:
            return [self.called(Prompt(text, known))]
        calls = []
        for value in values[:_MAX_CALLS]:
            others = [each for each in values if each != value]
            rest = re.sub("|".join(map(re.escape, others)), "", text)
            calls.append(self.called(Prompt(rest, {**known, plain(name): value})))
        return calls

    def is_named_in(self, text: str) -> bool:
        """Return whether a text has the tool's name in it, and not just a word that is one."""
        if self.name.isascii() and self.name.isalpha() and self.name[1:].islower():
            return False
        return re.search(rf"(?<!\w){re.escape(self.name)}(?!\w)", text) is not None

    @property
    def runs_commands(self) -> bool:
        """Whether it must be told a command."""
        return any("command" in kinds_of(str(e)) for e in self.parameters.get("required") or ())

    def lacks(self, prompt: Prompt) -> bool:
        """Return whether the prompt does not say on what it is to be done."""
        named = self.parameters.get("required") or ()
        needed = [each for each in named if _NEEDED.intersection(kinds_of(str(each))[:1])]
        return any(
            prompt.text_for(each, guess=False) is None and prompt.known_value(each) is None
            for each in needed
        )

    def _listed_name(self) -> str:
        """Return the one argument of which there may be several; empty where there is none."""
        properties = self.parameters.get("properties") or {}
        names = list(self.parameters.get("required") or properties)
        parts = {each: properties.get(each) for each in names}
        texts = [
            each
            for each, part in parts.items()
            if isinstance(part, dict) and part.get("type") == "string" and "enum" not in part
        ]
        lists = any(isinstance(p, dict) and p.get("type") == "array" for p in parts.values())
        kinds = kinds_of(texts[0])[:1] if texts else ()
        alike = [each for each in texts if kinds_of(each)[:1] == kinds or kinds_of(each) == ("to",)]
        return texts[0] if texts and not lists and len(alike) == 1 and kinds != ("request",) else ""


def _tools(body: Mapping[str, Any]) -> Iterator[_Tool]:
    for tool in body.get("tools") or []:
        custom = isinstance(tool, dict) and tool.get("type") == "custom"
        told = tool.get("custom" if custom else "function") if isinstance(tool, dict) else None
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            continue
        parameters = told.get("parameters")
        yield _Tool(
            name=told["name"],
            description=str(told.get("description") or ""),
            parameters=parameters if isinstance(parameters, dict) else {},
            custom=custom,
            namespace=tool.get("namespace"),
        )


def _choice(choice: object, tools: list[_Tool]) -> tuple[bool | None, list[_Tool]]:
    """Return whether a call is demanded (None: forbidden), and of which tools."""
    if choice == "none":
        return None, []
    if not isinstance(choice, dict):
        return choice == "required", tools
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        names = {_name(each) for each in allowed.get("tools") or ()}
        return allowed.get("mode") == "required", [each for each in tools if each.name in names]
    return True, [each for each in tools if each.name == _name(choice)]


def _name(choice: Mapping[str, Any]) -> object:
    return (choice.get("function") or choice.get("custom") or choice).get("name")


def _planned(tools: list[_Tool], prompt: Prompt) -> list[Called]:
    """Return all calls that the prompt asks for."""
    fitting = [each for each in tools if not each.lacks(Prompt(prompt.text, prompt.known))]
    named = [each for each in fitting if each.is_named_in(prompt.text)]
    if not named and prompt.text_for("command", guess=False) is not None:
        named = [each for each in fitting if each.runs_commands][:1]
    meant = named or list(_meant(fitting, prompt.text))
    return [call for tool in meant for call in tool.several(prompt.text, prompt.known)]


def _not_yet_called(planned: list[Called], called: Counter[object]) -> list[Called]:
    left, done = [], Counter(called)
    for each in planned:
        if done[each.name] > 0:
            done[each.name] -= 1
        else:
            left.append(each)
    return left


def _meant(tools: list[_Tool], text: str) -> Iterator[_Tool]:
    """Yield the tools that the prompt is about, each for words of its own."""
    said = _said(text)
    while tools:
        scores = [_score(each, said) for each in tools]
        best, words, by_name = max(scores, key=lambda score: score[0], default=(0.0, set(), False))
        if best < _ENOUGH:
            return
        tool = tools[[score[0] for score in scores].index(best)]
        yield tool
        if "transfer" in tool.name or not by_name:
            return  # a conversation is handed to one only
        said = said - words
        # The next one has to be named: what two descriptions share is no second question.
        tools = [each for each in tools if each is not tool and _score(each, said)[2]]


def _said(text: str) -> set[str]:
    if len(text) > 2 * _MAX_QUESTION_CHARS:
        text = f"{text[:_MAX_QUESTION_CHARS]} {text[-_MAX_QUESTION_CHARS:]}"
    said = {stem(word) for word in re.findall(r"\w+", text.casefold())}
    undated = without_dates(text)
    for sign, meaning in _OPERATORS.items():
        if re.search(rf"\d\s*(?:{sign})\s*\d", undated):
            said |= {stem(meaning), stem("calculate")}
    return said


def _score(tool: _Tool, said: set[str]) -> tuple[float, set[str], bool]:
    """Return how much a prompt speaks of a tool, by which words, and whether of its name."""
    subject = {stem(word) for word in set(words_of(tool.name)) - OF_ANY_TOOL}
    named = said & subject
    meant = {w for group in SAID_FOR if group & subject for w in group & said} - named
    first = re.split(r"[.\n]", tool.description[:300])[0]
    described = {stem(w) for w in set(re.findall(r"\w{4,}", first.casefold())) - OF_ANY_TOOL}
    also = said & described - named - meant
    score = _BY_NAME * len(named) + _BY_MEANING * len(meant) + _BY_DESCRIPTION * len(also)
    return score, named | meant | also, bool(named or meant)


def _told(conversation: Conversation) -> str:
    return " ".join(conversation.results)


def _custom_input(name: str, prompt: Prompt) -> str:
    if "patch" in name:
        return "*** Begin Patch\n*** Add File: simulated.txt\n+simulated\n*** End Patch\n"
    return prompt.text_for("query") or "simulated"
