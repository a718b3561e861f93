"""What a model needs back of its own thinking, in the one field of a reasoning item for it.

Responses clients send `encrypted_content` back unread. An answer that was made of a chat completion
puts there what chat completions carry beside the text: thinking with its signature, and what a
vendor attached to a call. It is no secret, and it is marked, so that nothing else is taken for it.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

_MARK = "steelyard1."
KEPT = ("thinking_blocks", "reasoning_details")
"""The fields of an assistant message that its model takes back."""
FIELD = "field"
"""Where there are none: the field that the text of the item came in, in which some take it back."""
FIELDS = ("reasoning_content", "reasoning")

_ERRORS = (binascii.Error, ValueError, msgspec.DecodeError, RecursionError)


def seal(fields: Mapping[str, Any], *, field: str = "") -> str | None:
    """Return the fields of a message that are to come back as one opaque text, if it has any.

    Parameters
    ----------
    field
        In which the text of the reasoning came, if there is one.
    """
    kept = {name: fields[name] for name in KEPT if fields.get(name)}
    if not kept and field:
        kept[FIELD] = field
    if not kept:
        return None
    return _MARK + base64.b64encode(msgspec.json.encode(kept)).decode()


def unseal(text: Any) -> dict[str, Any] | None:
    """Return the fields in a text that `seal` made, None for any other."""
    if not isinstance(text, str) or not text.startswith(_MARK):
        return None
    try:
        fields = msgspec.json.decode(base64.b64decode(text[len(_MARK) :], validate=True))
    except _ERRORS:
        return None
    if not isinstance(fields, dict):
        return None
    return {name: fields[name] for name in (*KEPT, FIELD) if name in fields}
