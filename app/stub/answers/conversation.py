"""What a chat request asks, and what has been done about it since."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_BY_PROGRAMS = re.compile(
    r"<(system-reminder|environment_context|user_instructions|command-message)>.*?</\1>", re.DOTALL
)
"""What coding agents put into the turns of users, who did not say it."""
_MAX_KNOWN = 200


class Conversation:
    """A chat request, read once.

    Attributes
    ----------
    prompt
        The text of the newest user message.
    results
        What the tools said that were called last; empty where the last message is none of theirs.
    called
        How often each tool was called since the user last spoke.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        found = body.get("messages")
        self.messages: list[Any] = found if isinstance(found, list) else []
        self.prompt = ""
        self.called: Counter[object] = Counter()
        since: list[dict[str, Any]] = []
        for message in reversed(self.messages):
            if not isinstance(message, dict):
                continue
            if message.get("role") == "user":
                self.prompt = said(message)
                if self.prompt:
                    break
            since.append(message)
        self._since = since[::-1]
        for message in since:
            self.called.update(name for name, _ in _calls(message))
        self.results = self._results()

    def texts(self) -> list[str]:
        """Return the text of every message."""
        return [content_text(each.get("content")) for each in self._read()]

    def known(self) -> dict[str, object]:
        """Return what tools were told and answered as JSON since the user spoke, by its name."""
        known: dict[str, object] = {}
        for message in self._since:
            for _, arguments in _calls(message):
                _keep(known, arguments)
            if message.get("role") == "tool":
                _keep(known, _decoded(content_text(message.get("content"))))
        return known

    def _read(self) -> Iterator[dict[str, Any]]:
        return (each for each in self.messages if isinstance(each, dict))

    def _results(self) -> list[str]:
        told: list[str] = []
        for message in reversed(self._since):
            if message.get("role") == "tool":
                told.append(content_text(message.get("content")))
            elif message.get("role") not in ("system", "developer", "user"):
                break
        return told[::-1]


def said(message: Mapping[str, Any]) -> str:
    """Return the text of a message without what a program put into it."""
    text = content_text(message.get("content"))
    return _BY_PROGRAMS.sub("", text).strip() if "</" in text else text


def content_text(content: object) -> str:
    """Return the text of a message's content, parts joined by line breaks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[object, object]]:
    """Yield name and arguments of each call of a message, in OpenAI's form or Anthropic's."""
    for call in message.get("tool_calls") or ():
        told = call.get("function") or call.get("custom") or {}
        yield told.get("name"), _decoded(told.get("arguments"))
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_use":
            yield block.get("name"), block.get("input")


def _decoded(text: object) -> object:
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else None
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _keep(known: dict[str, object], value: object) -> None:
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        if len(known) < _MAX_KNOWN:
            known[plain(key)] = each
        _keep(known, each)


def plain(name: str) -> str:
    """Return a name as it is compared: `cityName` and `city_name` are one."""
    return name.replace("_", "").replace("-", "").casefold()
