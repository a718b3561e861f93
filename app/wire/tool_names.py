"""Names of tools that chat-completions upstreams take, and the way back to what clients call them.

OpenAI takes letters, digits, `_` and `-`, at most 64 of them. Other dialects have longer names,
namespaces, and tools that are no functions; each gets one flat name, the same for the same tool in
every request, so that a history written earlier still fits.
"""

import hashlib
import re
from enum import StrEnum
from typing import NamedTuple

MAX_NAME_CHARS = 64
_HASH_CHARS = 8
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class ToolKind(StrEnum):
    """What a tool is to the client; upstreams see functions alone."""

    FUNCTION = "function"
    CUSTOM = "custom"


class Tool(NamedTuple):
    """A tool as its client knows it."""

    name: str
    namespace: str | None = None
    kind: ToolKind = ToolKind.FUNCTION


def flat_name(name: str, namespace: str | None = None) -> str:
    """Return the name that stands for a tool upstream.

    A name that is taken as it is stays; of any other, what was lost in it is told by a short hash,
    so that two names never become one.
    """
    whole = name if namespace is None else f"{namespace}__{name}"
    plain = _ODD.sub("_", whole)
    if plain == whole and 0 < len(plain) <= MAX_NAME_CHARS:
        return plain
    return _marked(plain, whole)


def _marked(plain: str, whole: str) -> str:
    digest = hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:_HASH_CHARS]
    return f"{plain[: MAX_NAME_CHARS - _HASH_CHARS - 1]}_{digest}"


class ToolNames:
    """The tools of one request by their flat names."""

    __slots__ = ("_tools",)

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def add(self, tool: Tool) -> str:
        """Take a tool in, and return its flat name."""
        flat = flat_name(tool.name, tool.namespace)
        if self._tools.setdefault(flat, tool)[:2] != tool[:2]:
            # Another tool has the very name that this one's namespace makes of it.
            flat = _marked(flat, f"{tool.namespace} {tool.name}")
            self._tools.setdefault(flat, tool)
        return flat

    def tool(self, flat: str) -> Tool:
        """Return the tool of a flat name; a name that none has is itself a function."""
        return self._tools.get(flat) or Tool(flat)
