"""The messages of a request, taken apart one level deep: what is looked into later is as sent."""

import msgspec

_ABSENT = msgspec.Raw(b"")
NOTHING = msgspec.Raw(b"null")
"""Stands for what a message does not have."""


class Turn(msgspec.Struct, frozen=True):
    """One message: its role, and what else of it anybody looks at.

    Attributes
    ----------
    content
        Empty where there is none.
    """

    role: str
    content: msgspec.Raw = _ABSENT
    refusal: str | None = None
    tool_calls: msgspec.Raw = NOTHING
    tool_call_id: msgspec.Raw = NOTHING
    function_call: msgspec.Raw = NOTHING
    name: msgspec.Raw = NOTHING

    @property
    def has_content(self) -> bool:
        """Whether there is a content, if only null."""
        return self.content is not _ABSENT


TURNS = msgspec.json.Decoder(list[Turn])
"""Reads the value of `messages`; contents are parsed by who needs them, once."""


def call_by_name(name: object) -> str:
    """Return what a call of the old kind goes by, which has no id."""
    return f"function {name}"
