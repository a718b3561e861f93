"""Addresses that name the model, and whether to stream: Gemini's, Vertex' and Bedrock's."""

import re
from typing import Any
from urllib.parse import unquote

_GENERATE = re.compile(r"/v1(?:beta)?/(?:.+/)?models/([^/:]+):(generate|streamGenerate)Content")
_CONVERSE = re.compile(r"/model/([^/]+)/converse(-stream)?")

GENERATE_CONTENT, CONVERSE = "generateContent", "converse"
"""What stands for these APIs among the paths of the others."""


def addressed(path: str) -> tuple[str, dict[str, Any]] | None:
    """Return which API a path belongs to and what it says; None for any other path."""
    found = _GENERATE.fullmatch(path)
    if found is not None:
        return GENERATE_CONTENT, {"model": found[1], "stream": found[2] == "streamGenerate"}
    found = _CONVERSE.fullmatch(path)
    if found is not None:
        return CONVERSE, {"model": unquote(found[1]), "stream": found[2] is not None}
    return None
