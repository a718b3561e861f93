"""Tools of the Messages API and the choice among them, as chat completions have them."""

from typing import Any

import msgspec

from app.errors import UpstreamUnsupportedError
from app.wire.decoding import DECODE_ERRORS
from app.wire.messages.names import ToolNames
from app.wire.messages.shapes import NULL, Tool, ToolChoice

_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_NO_EXAMPLES = frozenset({b"null", b"[]"})
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}

_STRING = {"type": "string"}
_CLIENT_TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "bash_": (
        "Run commands in a bash shell that keeps its state between calls.",
        {
            "type": "object",
            "properties": {
                "command": {**_STRING, "description": "The command to run."},
                "restart": {"type": "boolean", "description": "Restart the shell instead."},
            },
        },
    ),
    "text_editor_": (
        "View, create and edit text files.",
        {
            "type": "object",
            "properties": {
                "command": {
                    **_STRING,
                    "enum": ["view", "create", "str_replace", "insert"],
                },
                "path": {**_STRING, "description": "Absolute path of a file or directory."},
                "file_text": {**_STRING, "description": "For create: the file's content."},
                "old_str": {**_STRING, "description": "For str_replace: the unique text to find."},
                "new_str": {**_STRING, "description": "For str_replace: what to put there."},
                "insert_line": {
                    "type": "integer",
                    "description": "For insert: after which line; 0 is the beginning.",
                },
                "insert_text": {**_STRING, "description": "For insert: what to put there."},
                "view_range": {
                    "type": "array",
                    "items": {"type": "integer"},
                    "description": "For view: first and last line; -1 is the end.",
                },
            },
            "required": ["command", "path"],
        },
    ),
}
"""Tools that Anthropic's models know by name and the client carries out: described in words, any
model can call them. By how their dated types begin."""

_MAX_DEPTH = 32


def chat_tools(tools: list[Tool], names: ToolNames) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the tools as functions, and what of them cannot be told.

    Tools that Anthropic's own servers carry out are none that another model could call.
    """
    told: list[dict[str, Any]] = []
    left_out: list[str] = []
    for tool in tools:
        if tool.is_custom:
            told.append({"type": "function", "function": _function(tool, names, left_out)})
            continue
        known = _known_to_clients(tool)
        if known is None:
            left_out.append(f"tools.{tool.type}")
            continue
        description, schema = known
        function = {"name": names.to_chat(tool.name), "description": description}
        told.append({"type": "function", "function": {**function, "parameters": schema}})
    return told, left_out


def is_of_its_servers(tool: Tool) -> bool:
    """Whether a tool is none that a model of another provider could be told of."""
    return not tool.is_custom and _known_to_clients(tool) is None


def chat_choice(
    choice: ToolChoice, tools: list[dict[str, Any]], names: ToolNames
) -> str | dict[str, Any]:
    """Return `tool_choice` in OpenAI's words.

    Raises
    ------
    UpstreamUnsupportedError
        If it demands a tool that could not be told, or is unknown.
    """
    if choice.type in ("any", "tool") and not tools:
        raise UpstreamUnsupportedError(
            "the tool that must be called is one that only Anthropic's models have",
            param="tool_choice",
        )
    if choice.type == "tool":
        name = names.to_chat(choice.name or "")
        if all(tool["function"]["name"] != name for tool in tools):
            raise UpstreamUnsupportedError(
                f"tool_choice names {choice.name!r:.80}, which this upstream has no tool for",
                param="tool_choice",
            )
        return {"type": "function", "function": {"name": name}}
    if choice.type not in _CHOICES:
        raise UpstreamUnsupportedError(
            f"tool_choice of type {choice.type!r:.80} is not known to this upstream",
            param="tool_choice",
        )
    return _CHOICES[choice.type]


def fits_strict(schema: msgspec.Raw) -> bool:
    """Whether OpenAI's strict mode takes a schema: closed objects whose fields are all required.

    Anthropic's takes optional fields as well.
    """
    try:
        value = msgspec.json.decode(schema)
    except DECODE_ERRORS:
        return False
    return isinstance(value, dict) and _is_closed(value, _MAX_DEPTH)


def _is_closed(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict):
        return not isinstance(schema, list) or all(_is_closed(each, depth) for each in schema)
    if depth == 0:
        return False
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict) or schema.get("additionalProperties") is not False:
            return False
        required = schema.get("required") or []
        # What is none of a schema's is for the upstream to refuse.
        if not isinstance(required, list) or set(properties) != set(map(str, required)):
            return False
        if not all(_is_closed(each, depth - 1) for each in properties.values()):
            return False
    inner = (schema.get(key) for key in ("items", "anyOf", "allOf", "oneOf"))
    definitions = (schema.get(key) for key in ("$defs", "definitions"))
    return all(_is_closed(each, depth - 1) for each in inner) and all(
        _is_closed(one, depth - 1)
        for each in definitions
        if isinstance(each, dict)
        for one in each.values()
    )


def _function(tool: Tool, names: ToolNames, left_out: list[str]) -> dict[str, Any]:
    function: dict[str, Any] = {"name": names.to_chat(tool.name)}
    description = tool.description or ""
    if bytes(tool.input_examples) not in _NO_EXAMPLES:
        # What it is good for, the model can as well be told in words.
        examples = bytes(tool.input_examples).decode()
        description += f"{description and chr(10) * 2}Examples of its input: {examples}"
    if description:
        function["description"] = description
    function["parameters"] = _NO_PARAMETERS if tool.input_schema == NULL else tool.input_schema
    if tool.strict:
        if fits_strict(tool.input_schema):
            function["strict"] = True
        else:
            left_out.append("tools.strict")
    return function


def _known_to_clients(tool: Tool) -> tuple[str, dict[str, Any]] | None:
    for beginning, known in _CLIENT_TOOLS.items():
        if tool.type is not None and tool.type.startswith(beginning):
            return known
    return None
