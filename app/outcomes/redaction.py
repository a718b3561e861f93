"""What is taken out of texts before they are written anywhere."""

import importlib
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from app.errors import ConfigError

_log = logging.getLogger(__name__)

REDACTED = "[redacted]"

Hook = Callable[[str], str]
"""Takes a text and returns what may be kept of it."""


class Redactor:
    """Apply patterns, then a function of the operator's, to every text.

    What cannot be redacted is not kept.

    Parameters
    ----------
    patterns
        Regular expressions; each match becomes `[redacted]`.
    hook
        ``"package.module:function"``, called with every text.

    Raises
    ------
    ConfigError
        If a pattern is no regular expression, or there is no such function.
    """

    def __init__(self, patterns: Sequence[str] = (), hook: str | None = None) -> None:
        self._patterns = [_compile(pattern) for pattern in patterns]
        self._hook = None if hook is None else _load(hook)
        self._failed = False

    def text(self, text: str) -> str:
        """Return what may be kept of a text."""
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        if self._hook is not None:
            text = self._hook(text)
            if not isinstance(text, str):
                raise TypeError(f"the redaction hook returned {type(text).__name__}, not str")
        return text

    def apply(self, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return the messages and all answers redacted; None where that failed."""
        try:
            answer, drafts = content["answer"], content.get("drafts", ())
            return {
                "messages": [
                    {**message, "content": self.text(message["content"])}
                    for message in content["messages"]
                ],
                "answer": None if answer is None else self.text(answer),
                **({"media": content["media"]} if "media" in content else {}),
                **(
                    {"drafts": [{**each, "text": self.text(each["text"])} for each in drafts]}
                    if drafts
                    else {}
                ),
            }
        except Exception as error:  # noqa: BLE001  (whatever an operator's function does)
            if not self._failed:
                # Not the traceback: its last line may hold the text.
                _log.error("texts cannot be redacted and are not kept: %s", type(error).__name__)
            self._failed = True
            return None


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"outcomes.contents.redact: {pattern!r} is no regular expression: {error}"
        ) from error


def _load(hook: str) -> Hook:
    module, _, name = hook.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"outcomes.contents.redact_hook: cannot load {hook!r}: {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"outcomes.contents.redact_hook: {hook!r} is no function")
    function: Hook = found
    return function
