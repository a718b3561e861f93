"""Tools of a Responses request as nearly all are: functions with plain names.

What they take is passed on as it was written, without being read and written again.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from app.wire.decoding import DECODE_ERRORS
from app.wire.tool_names import TAKEN_PATTERN, ToolNames

_NULL = msgspec.Raw(b"null")


class _Tool(msgspec.Struct, frozen=True, gc=False):
    type: Literal["function"]
    name: Annotated[str, msgspec.Meta(pattern=TAKEN_PATTERN)]
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    strict: msgspec.Raw = _NULL


class _Function(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(list[_Tool]).decode


def usual_tools(listed: bytes, names: ToolNames) -> list[Mapping[str, Any]] | None:
    """Return tools as those of a chat completion; None where any of them is unusual.

    Parameters
    ----------
    names
        Takes them in; has none yet.
    """
    try:
        tools = _decode(listed)
    except DECODE_ERRORS:
        return None
    names.add_functions([tool.name for tool in tools])
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def _function(tool: _Tool) -> _Function:
    return _Function(
        tool.name,
        tool.description or None,
        None if tool.parameters is _NULL or tool.parameters == _NULL else tool.parameters,
        None if tool.strict is _NULL or tool.strict == _NULL else tool.strict,
    )
