"""A Responses body as the body of a chat completion.

What chat completions have another word for is renamed; what they have no word for is refused,
where the answer would be another one without it, or left out and told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.wire.envelope import decode_value
from app.wire.responses.items import messages_of, optional_string_of, string_of
from app.wire.responses.usual_tools import usual_tools
from app.wire.tool_names import Tool, ToolKind, ToolNames

_AS_THEY_ARE = (
    "temperature",
    "top_p",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "user",
    "session_id",  # said to the gateway, in every dialect
)
_WITHOUT_MEANING = frozenset(
    {
        "background",
        "client_metadata",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "routing",
        "store",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        *_AS_THEY_ARE,
    }
)
"""Fields that are read here, or that no model has to know of."""

_CUSTOM_PARAMETERS = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool."}},
    "required": ["input"],
    "additionalProperties": False,
}
_LOGPROBS = "message.output_text.logprobs"

_SHAPES: Mapping[str, msgspec.json.Decoder[Any]] = {
    "include": msgspec.json.Decoder(list[str] | None),
    "instructions": msgspec.json.Decoder(str | None),
    "parallel_tool_calls": msgspec.json.Decoder(bool | None),
    "store": msgspec.json.Decoder(bool | None),
    "stream": msgspec.json.Decoder(bool | None),
    "top_logprobs": msgspec.json.Decoder(int | float | None),
}
"""What some fields are; others are looked at where they are told."""

_ANYTHING = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatForm:
    """A Responses request as a chat request.

    Attributes
    ----------
    fields
        The chat body: top-level names and the JSON of their values.
    names
        The tools as the client knows them, by the names that the upstream knows them by.
    left_out
        What chat completions have no word for, as paths into the client's body.
    """

    fields: Mapping[str, bytes]
    names: ToolNames
    left_out: tuple[str, ...]


def chat_form(body: Mapping[str, bytes]) -> ChatForm:
    """Translate a request.

    Parameters
    ----------
    body
        Top-level names and the JSON of their values, as the client sent them.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault, for what is no Responses request, or cannot be asked of a model
        that speaks chat completions.
    """
    fields = {
        name: decode_value(_SHAPES.get(name, _ANYTHING), body[name], name)
        for name in body
        if name in _READ
    }
    _refuse_state(fields)
    names = ToolNames()
    left_out = [name for name in body if name not in _WITHOUT_MEANING and body[name] != b"null"]
    chat: dict[str, Any] = {}
    tools = _offered(body, fields, names, left_out)
    messages, dropped = messages_of(_input(fields), fields.get("instructions"), names)
    left_out += [f"input.{kind}" for kind in dict.fromkeys(dropped)]
    chat["messages"] = messages
    if tools:
        choice = _tool_choice(fields.get("tool_choice"), tools, names)
        chat["tools"] = choice.tools
        if choice.value is not None:
            chat["tool_choice"] = choice.value
        if fields.get("parallel_tool_calls") is not None:
            chat["parallel_tool_calls"] = fields["parallel_tool_calls"]
    _format(fields, chat)
    _reasoning(fields, chat, left_out)
    if fields.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = fields["max_output_tokens"]
    if _LOGPROBS in (fields.get("include") or ()) or fields.get("top_logprobs"):
        chat["logprobs"] = True
        if fields.get("top_logprobs") is not None:
            chat["top_logprobs"] = fields["top_logprobs"]
    if fields.get("stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    encoded = {name: _encode(value) for name, value in chat.items()}
    for name in _AS_THEY_ARE:
        if body.get(name, b"null") != b"null":
            encoded[name] = body[name]
    return ChatForm(fields=encoded, names=names, left_out=tuple(left_out))


_READ = (
    _WITHOUT_MEANING - frozenset(_AS_THEY_ARE) - {"model", "metadata", "client_metadata", "tools"}
)


def _refuse_state(fields: Mapping[str, Any]) -> None:
    if fields.get("background"):
        raise InvalidRequestError(
            "background is not served: leave it out and read the answer, as a stream if it takes "
            "long",
            param="background",
        )
    if fields.get("conversation") is not None:
        raise InvalidRequestError(
            "conversations are not kept here: send the items of the conversation as input",
            param="conversation",
        )


def _input(fields: Mapping[str, Any]) -> str | list[Any]:
    value = fields.get("input")
    if value is None:
        raise InvalidRequestError("you must provide an input parameter", param="input")
    if not isinstance(value, str | list):
        raise InvalidRequestError("input must be a string or a list of items", param="input")
    return value


def _offered(
    body: Mapping[str, bytes], fields: Mapping[str, Any], names: ToolNames, left_out: list[str]
) -> Sequence[Mapping[str, Any]]:
    if "tools" not in body:
        return []
    if not isinstance(fields.get("tool_choice"), dict):  # else they have to be looked at
        usual = usual_tools(body["tools"], names)
        if usual is not None:
            return usual
    return _tools(decode_value(_ANYTHING, body["tools"], "tools"), names, left_out)


def _tools(listed: Any, names: ToolNames, left_out: list[str]) -> list[dict[str, Any]]:
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise InvalidRequestError("tools must be a list", param="tools")
    tools: list[dict[str, Any]] = []
    for i, tool in enumerate(listed):
        where = f"tools[{i}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise InvalidRequestError(f"{where} must be an object with a type", param=where)
        if tool["type"] == "namespace":
            inner = tool.get("tools")
            if not isinstance(inner, list):
                raise InvalidRequestError(f"{where}.tools must be a list", param=where)
            members = [(f"{where}.tools[{j}]", each) for j, each in enumerate(inner)]
            namespace = _name(tool, where)
        else:
            members, namespace = [(where, tool)], None
        for place, each in members:
            made = function_tool(each, place, namespace, names)
            if made is None:
                left_out.append(f"tools.{each.get('type')}")
            else:
                tools.append(made)
    return tools


def function_tool(
    tool: Any, where: str, namespace: str | None, names: ToolNames
) -> dict[str, Any] | None:
    """Return a tool as a function; None for one that only its own API carries out."""
    if not isinstance(tool, dict):
        raise InvalidRequestError(f"{where} must be an object", param=where)
    kind = tool.get("type")
    if kind not in ("function", "custom"):  # of any type: what has no hash is in no set
        return None
    name = _name(tool, where)
    function: dict[str, Any] = {"name": names.add(Tool(name, namespace, ToolKind(kind)))}
    if tool.get("description"):
        function["description"] = string_of(tool, "description", where)
    if kind == "custom":
        function["parameters"] = _CUSTOM_PARAMETERS
        grammar = tool.get("format")
        if isinstance(grammar, dict) and grammar.get("definition"):
            function["description"] = "\n\n".join(
                [
                    *([function["description"]] if "description" in function else []),
                    f"The input must follow this {grammar.get('syntax', '')} grammar:".replace(
                        "  ", " "
                    ),
                    str(grammar["definition"]),
                ]
            )
    else:
        if tool.get("parameters") is not None:
            function["parameters"] = tool["parameters"]
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequestError(f"{where} needs a name", param=f"{where}.name")
    return name


@dataclass(frozen=True, slots=True)
class _Choice:
    value: Any
    tools: Sequence[Mapping[str, Any]]


def _tool_choice(choice: Any, tools: Sequence[Mapping[str, Any]], names: ToolNames) -> _Choice:
    if choice is None or choice in ("auto", "none", "required"):
        return _Choice(choice, tools)
    if not isinstance(choice, dict):
        raise InvalidRequestError(
            "tool_choice must be none, auto, required, or an object", param="tool_choice"
        )
    kind = choice.get("type")
    if kind == "allowed_tools":
        listed = choice.get("tools")
        if not isinstance(listed, list):
            raise InvalidRequestError("tool_choice.tools must be a list", param="tool_choice")
        allowed = {_flat(each, names) for each in listed}
        kept = [tool for tool in tools if tool["function"]["name"] in allowed]
        if not kept:
            raise InvalidRequestError(
                "tool_choice.tools allows none of the tools that can be offered",
                param="tool_choice",
            )
        return _Choice(choice.get("mode", "auto"), kept)
    if kind in ("function", "custom"):
        flat = _flat(choice, names)
        if all(tool["function"]["name"] != flat for tool in tools):
            raise InvalidRequestError(
                f"tool_choice names {choice.get('name')!r}, which is none of the tools",
                param="tool_choice",
            )
        return _Choice({"type": "function", "function": {"name": flat}}, tools)
    raise InvalidRequestError(
        f"tool_choice of type {kind!r} asks for a tool that only its own API carries out",
        param="tool_choice",
    )


def _flat(choice: Any, names: ToolNames) -> str:
    if not isinstance(choice, dict) or not isinstance(choice.get("name"), str):
        return ""
    return names.add(
        Tool(
            choice["name"],
            optional_string_of(choice, "namespace", "tool_choice"),
            ToolKind.CUSTOM if choice.get("type") == "custom" else ToolKind.FUNCTION,
        )
    )


def _format(fields: Mapping[str, Any], chat: dict[str, Any]) -> None:
    text = fields.get("text")
    if text is None:
        return
    if not isinstance(text, dict):
        raise InvalidRequestError("text must be an object", param="text")
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    wanted = text.get("format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        schema = {
            key: wanted[key]
            for key in ("name", "schema", "strict", "description")
            if wanted.get(key) is not None
        }
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind != "text":
        raise InvalidRequestError(
            "text.format.type must be text, json_object or json_schema", param="text.format"
        )


def _reasoning(fields: Mapping[str, Any], chat: dict[str, Any], left_out: list[str]) -> None:
    reasoning = fields.get("reasoning")
    if reasoning is None:
        return
    if not isinstance(reasoning, dict):
        raise InvalidRequestError("reasoning must be an object", param="reasoning")
    if reasoning.get("effort") is not None:
        chat["reasoning_effort"] = reasoning["effort"]
    left_out += [
        f"reasoning.{name}"
        for name, value in reasoning.items()
        if value is not None and name not in {"effort", "summary", "generate_summary"}
    ]
