"""What an agent did: its calls of tools, and whether they came to anything.

A result counts as failed by how it is marked or how it begins or ends, never by what it talks of:
sources, logs and manuals are full of errors that are none.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from routers.types import Role

_EDGE_CHARS = 400
"""So much of a result's beginning and end is looked at for a mark of failure."""

_MAX_JSON_CHARS = 20_000

_FAILED_HEAD = re.compile(
    r"""(?:
        (?:tool_use_error|error)\s*>                        # tags of harnesses
      | (?:\w*Error|\w*Exception|error|fatal(?:\ error)?|failed|failure)\s*[\]*`]*\s*:(?!//)
      | error\[\w+\]\s*:                                    # compilers
      | \w+:\ (?:command\ not\ found|no\ such\ file\ or\ directory|permission\ denied)
      | traceback\ \(most\ recent\ call\ last\):[ \t]*(?:\n|$)
      | the\ tool\ execution\ failed
      | (?:tool|command|function|request)\ (?:call\ )?(?:failed|errored|timed\ out)\b
      | (?:unknown|invalid|no\ such)\ (?:tool|function)\b
      | exit(?:ed)?\ (?:with\ )?(?:code|status)\s*:?\s*-?[1-9]
      | (?:process|command|script|bash|shell)\ (?:has\ )?(?:exited|failed|finished)
        \ with\ (?:exit\ )?(?:code|status)\s*:?\s*-?[1-9]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_EXIT_CODE = re.compile(
    r"\W{0,9}(?:\w+\s+){0,3}(?:exit(?:ed)?(?:\s+with)?(?:\s+exit)?\s+(?:code|status)|exit_code|returncode)"
    r"\W{0,4}(-?\d{1,9})\W{0,9}",
    re.IGNORECASE,
)
_MAX_EXIT_CHARS = 120
_BEFORE_MARKS = " \t\r\n[<*`"
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):$", re.MULTILINE)
_RAISED = re.compile(r"\n[\w.]*(?:Error|Exception|Interrupt|Exit)(?::[^\n]*)?\s*$")
_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool.

    Attributes
    ----------
    arguments
        As the model wrote them: JSON, or anything.
    """

    call_id: str
    name: str
    arguments: str

    @property
    def same_as(self) -> tuple[str, str]:
        """What two calls have in common that ask for the same."""
        try:
            return self.name, json.dumps(json.loads(self.arguments), sort_keys=True)
        except (ValueError, RecursionError):
            return self.name, _SPACE.sub(" ", self.arguments.strip())


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back.

    Attributes
    ----------
    call_id
        Of the call that it answers.
    failed
        Whether it is marked as failed or succeeded; None where it is not marked.
    """

    call_id: str
    text: str
    failed: bool | None = None

    @property
    def is_failure(self) -> bool:
        """Whether the tool failed."""
        return tells_failure(self.text) if self.failed is None else self.failed

    @property
    def same_as(self) -> str:
        """What two results have in common that say the same; times and counts are left out."""
        text = self.text
        if len(text) > 2 * _EDGE_CHARS:
            text = f"{len(text)} {text[:_EDGE_CHARS]} {text[-_EDGE_CHARS:]}"
        return _SPACE.sub(" ", _DIGITS.sub("#", text)).strip()


@dataclass(frozen=True, slots=True)
class Move:
    """One message of an agent's conversation.

    Attributes
    ----------
    refused
        Whether the message is marked as a refusal.
    """

    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    refused: bool = False


def tells_failure(text: str) -> bool:
    """Return whether the result of a tool says that the tool failed."""
    stripped = text[:_EDGE_CHARS].lstrip()
    if _FAILED_HEAD.match(stripped.lstrip(_BEFORE_MARKS)):
        return True
    if stripped[:1] == "{" and len(text) <= _MAX_JSON_CHARS:
        return _json_failure(text)
    tail = text[-_EDGE_CHARS:]
    # The first and the last line tell how a command ended; what is between them is its output.
    first, _, _ = stripped.partition("\n")
    last = tail.rstrip().rpartition("\n")[2]
    for line in (first, last):
        code = _EXIT_CODE.fullmatch(line.strip()[:_MAX_EXIT_CHARS])
        if code is not None:
            return int(code[1]) != 0
    return _TRACEBACK.search(tail) is not None and _RAISED.search(tail) is not None


def _json_failure(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    inner = value.get("metadata")
    return _is_failure(value) or (isinstance(inner, dict) and _is_failure(inner))


def _is_failure(value: dict[str, Any]) -> bool:
    if value.get("isError") is True or value.get("is_error") is True:
        return True
    if value.get("success") is False or value.get("ok") is False:
        return True
    if str(value.get("status")).casefold() in ("error", "failed", "failure"):
        return True
    for name in ("exit_code", "exitCode", "returncode"):
        code = value.get(name)
        if isinstance(code, int) and not isinstance(code, bool):
            return code != 0
    return bool(value.get("error")) and not value.get("result")
