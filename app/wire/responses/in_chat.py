"""Bodies in the shape of Responses where chat completions are asked for, as Cursor sends them.

Its agent posts `input` and flat tools to `/chat/completions` and reads chunks of a chat completion;
its other modes post messages, but mix flat tools among nested ones (BerriAI/litellm#34029).
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from app.wire.decoding import DECODE_ERRORS
from app.wire.responses.request import chat_form, function_tool
from app.wire.tool_names import ToolNames

_FLAT = re.compile(rb'"type"\s*:\s*"(?:function|custom)"\s*,\s*"(?:name|description|parameters)"')
_SAID_TO_US = ("model", "routing")
_tools = msgspec.json.Decoder(list[dict[str, Any]]).decode


def as_chat_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a chat completion that a body means; nearly always the body's own.

    Raises
    ------
    InvalidRequestError
        If it has the shape of Responses and cannot be answered.
    """
    if "messages" not in fields and "input" in fields:
        sent = {name: bytes(raw) for name, raw in fields.items()}
        chat = dict(chat_form(sent).fields)
        return {**{name: sent[name] for name in _SAID_TO_US if name in sent}, **chat}
    tools = fields.get("tools")
    if tools is None or _FLAT.search(tools) is None:
        return fields
    try:
        listed = _tools(tools)
    except DECODE_ERRORS:
        return fields  # whoever reads them in earnest says better what is wrong
    if not any(_is_flat(tool) for tool in listed):
        return fields
    names = ToolNames()
    nested = [
        function_tool(tool, f"tools[{i}]", None, names) if _is_flat(tool) else tool
        for i, tool in enumerate(listed)
    ]
    return {**fields, "tools": msgspec.json.encode(nested)}


def _is_flat(tool: Mapping[str, Any]) -> bool:
    return "name" in tool and tool.get("type") in ("function", "custom")
