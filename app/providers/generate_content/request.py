"""OpenAI's chat request, told in Gemini's `generateContent`.

References
----------
Google, "Generating content", "Function calling" and "Structured outputs", ai.google.dev.
"""

import re
from typing import Any

import msgspec

from app.errors import UpstreamUnsupportedError
from app.providers.generate_content.media_resolution import media_resolution
from app.providers.generate_content.thinking import google_fields, signs_calls, thinking_config
from app.providers.generate_content.turns import VENDOR, GeminiSpeech, contents
from app.providers.translation.fields import (
    Fields,
    Tool,
    check_known,
    output_limit,
    response_format,
    stop_sequences,
    tools,
    unsupported_field,
    value,
)
from app.providers.translation.history import encode_turns
from app.providers.translation.parts import NULL

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_UNSAID = {"presence_penalty": 0, "frequency_penalty": 0}
"""Values that mean what leaving the field out does; present models refuse the fields."""
_TRANSLATED = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice"}
    | {"parallel_tool_calls", "response_format", "reasoning_effort", "thinking"}
    | {"extra_body", "safety_settings", "cached_content"}
    # Without a counterpart, and without a say in the answer.
    | {"user", "safety_identifier", "cache_control"}
    | set(_SAMPLING)
)
_STANDARD_TIERS = (None, "auto", "default")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_NO_SCHEMAS = (NULL, msgspec.Raw(b"{}"))

_SPEECH = GeminiSpeech()
_encode = msgspec.json.Encoder().encode


def encode_generate_request(fields: Fields, *, model: str) -> bytes:
    """Return the body to send; whether it streams is said by the address.

    Raises
    ------
    UpstreamUnsupportedError
        If a field has no counterpart, or is not shaped as OpenAI's API has it.
    """
    check_known(fields, translated=_TRANSLATED | {"service_tier"}, vendor=VENDOR)
    if value(fields, "service_tier") not in _STANDARD_TIERS:
        raise unsupported_field(f"this service_tier is not supported by {VENDOR}", "service_tier")
    system, turns = encode_turns(fields.get("messages", b"null"), _SPEECH)
    body: dict[str, Any] = {"contents": contents(turns, signed_calls=signs_calls(model))}
    if system:
        body["systemInstruction"] = {"parts": system}
    _add_tools(body, fields)
    config = _generation_config(fields, model)
    if config:
        body["generationConfig"] = config
    if value(fields, "safety_settings") is not None:
        body["safetySettings"] = msgspec.Raw(fields["safety_settings"])
    cached = google_fields(fields).get("cached_content") or value(fields, "cached_content")
    if cached is not None:
        body["cachedContent"] = cached
    return _encode(body)


def _generation_config(fields: Fields, model: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    limit = output_limit(fields)
    if limit is not None:
        config["maxOutputTokens"] = limit
    for name, their_name in _SAMPLING.items():
        told = value(fields, name)
        if told is not None and told != _UNSAID.get(name):
            config[their_name] = told
    stop = stop_sequences(fields)
    if stop:
        config["stopSequences"] = stop
    resolution = media_resolution(fields.get("messages", b"[]"))
    if resolution is not None:
        config["mediaResolution"] = resolution
    thinking = thinking_config(fields, model)
    if thinking:
        config["thinkingConfig"] = thinking
    wanted = response_format(fields)
    if wanted is not None:
        config["responseMimeType"] = "application/json"
        if wanted.type == "json_schema" and wanted.json_schema is not None:
            config["responseJsonSchema"] = wanted.json_schema.schema
        elif wanted.type != "json_object":
            raise unsupported_field(
                f"response_format {wanted.type} is not supported by {VENDOR}; json_schema is",
                "response_format",
            )
    return config


def _add_tools(body: dict[str, Any], fields: Fields) -> None:
    offered = tools(fields)
    if not offered:
        return
    declared = [_declaration(tool, f"tools[{i}]") for i, tool in enumerate(offered)]
    body["tools"] = [{"functionDeclarations": declared}]
    calling = _calling(value(fields, "tool_choice"))
    if calling is not None:
        body["toolConfig"] = {"functionCallingConfig": calling}


def _declaration(tool: Tool, where: str) -> dict[str, Any]:
    function = tool.function
    if tool.type != "function" or function is None:
        raise unsupported_field(
            f"{where}: tools of type {tool.type} are not supported by {VENDOR}", "tools"
        )
    if not _NAME.fullmatch(function.name):
        raise unsupported_field(
            f"{where}: {VENDOR} take names of letters, digits and _.:-, 128 at most, that begin "
            f"with a letter, not {function.name[:80]!r}",
            "tools",
        )
    declared: dict[str, Any] = {"name": function.name}
    if function.description:
        declared["description"] = function.description
    if function.parameters not in _NO_SCHEMAS:
        declared["parametersJsonSchema"] = function.parameters
    return declared


def _calling(choice: object) -> dict[str, Any] | None:
    """Return which functions may or must be called; None where the client leaves it to the API."""
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _MODES:
        return {"mode": _MODES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return _among(choice.get("allowed_tools"))
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict):
        return {"mode": "ANY", "allowedFunctionNames": [function.get("name")]}
    raise _unknown_choice()


def _among(allowed: object) -> dict[str, Any]:
    if not isinstance(allowed, dict) or not isinstance(allowed.get("tools"), list):
        raise _unknown_choice()
    functions = [each.get("function") for each in allowed["tools"] if isinstance(each, dict)]
    names = [each["name"] for each in functions if isinstance(each, dict) and "name" in each]
    # With a choice of functions, the mode in which none has to be called is named so.
    mode = "ANY" if allowed.get("mode") == "required" else "VALIDATED"
    return {"mode": mode, "allowedFunctionNames": names}


def _unknown_choice() -> UpstreamUnsupportedError:
    return unsupported_field(f"this tool_choice is not supported by {VENDOR}", "tool_choice")
