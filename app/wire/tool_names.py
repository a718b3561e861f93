"""Names of tools that chat-completions upstreams take, and the way back to what clients call them.

OpenAI takes letters, digits, `_` and `-`, at most 64 of them. Other dialects have longer names,
namespaces, and tools that are no functions; each gets one flat name, the same for the same tool in
every request, so that a history written earlier still fits.
"""

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

_MAX_NAME_CHARS = 64
MARK_CHARS = 8
"""Of the hash that tells apart what has become alike."""
TAKEN_PATTERN = r"^[A-Za-z0-9_-]{1,64}\Z"
"""Names that upstreams take as they are."""
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
    return whole if is_taken(whole) else marked(whole)


def is_taken(name: str) -> bool:
    """Return whether upstreams take a name as it is."""
    return 0 < len(name) <= _MAX_NAME_CHARS and _ODD.search(name) is None


def marked(name: str, n_chars: int = MARK_CHARS) -> str:
    """Return a name that upstreams take, with so many characters of a hash of what it stands for.

    Never the hash alone, so that it can be read.
    """
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:n_chars]
    return f"{_ODD.sub('_', name)[: _MAX_NAME_CHARS - n_chars - 1]}_{digest}"[-_MAX_NAME_CHARS:]


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
            flat = marked(f"{tool.namespace} {tool.name}")
            self._tools.setdefault(flat, tool)
        return flat

    def add_functions(self, names: Iterable[str]) -> None:
        """Take functions in whose names are taken as they are, before any other tool."""
        self._tools.update({name: Tool(name) for name in names})

    def tool(self, flat: str) -> Tool:
        """Return the tool of a flat name; a name that none has is itself a function."""
        return self._tools.get(flat) or Tool(flat)
