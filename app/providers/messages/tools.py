"""OpenAI's tools and the choice among them, told in Anthropic's Messages API."""

import re
from typing import Any, NoReturn

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers.translation.fields import Tool
from app.wire.decoding import DECODE_ERRORS

_NULL = msgspec.Raw(b"null")
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_AT_THE_ROOT = ("oneOf", "anyOf", "allOf")
"""Refused there by the API, with every request that brings the tool."""

_decode_schema = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode


def encode_tool(tool: Tool, where: str) -> dict[str, Any]:
    """Return Anthropic's description of a tool.

    Raises
    ------
    UpstreamUnsupportedError
        If it is no function, or one that the API would refuse.
    """
    function = tool.function
    if tool.type != "function" or function is None:
        _refuse(f"{where}: tools of type {tool.type} are not supported by Anthropic models")
    if not _NAME.fullmatch(function.name):
        _refuse(
            f"{where}: Anthropic models take names of letters, digits, _ and -, 128 at most, "
            f"not {function.name[:80]!r}"
        )
    translated: dict[str, Any] = {"name": function.name}
    if function.description:
        translated["description"] = function.description
    translated["input_schema"] = _input_schema(function.parameters, where)
    if function.strict:
        translated["strict"] = True
    for mark in (tool.cache_control, function.cache_control):
        if mark != _NULL:
            translated["cache_control"] = mark
    return translated


def _input_schema(parameters: msgspec.Raw, where: str) -> dict[str, msgspec.Raw] | msgspec.Raw:
    """Return the schema with `"type": "object"`, which Anthropic demands and OpenAI does not."""
    try:
        schema = _decode_schema(parameters)
    except DECODE_ERRORS:
        _refuse(f"{where}: parameters must be a JSON schema of an object")
    if not schema:
        return _NO_PARAMETERS
    for keyword in _AT_THE_ROOT:
        if keyword in schema:
            _refuse(f"{where}: Anthropic models take no {keyword} at the root of parameters")
    if schema.get("type") == b'"object"':
        return parameters
    kinds = msgspec.json.decode(schema.get("type", _NULL))
    if kinds is not None and kinds != "object" and not (type(kinds) is list and "object" in kinds):
        _refuse(f"{where}: parameters must be a JSON schema of an object")
    return {**schema, "type": msgspec.Raw(b'"object"')}


def encode_choice(choice: object) -> dict[str, Any] | None:
    """Return Anthropic's `tool_choice`; None where the client leaves it to the API.

    Raises
    ------
    UpstreamUnsupportedError
        For a choice that the API does not know.
    """
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict):
        raise UpstreamUnsupportedError(
            "this tool_choice is not supported by Anthropic models", param="tool_choice"
        )
    return {"type": "tool", "name": function.get("name")}


def is_forced(choice: dict[str, Any] | None) -> bool:
    """Return whether the model has to call a tool, which it cannot while it thinks."""
    return choice is not None and choice["type"] in ("any", "tool")


def _refuse(message: str) -> NoReturn:
    raise UpstreamUnsupportedError(message, param="tools")
