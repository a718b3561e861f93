"""What stands where Anthropic's models sign their thinking, if another model thought it.

Clients keep thinking with its signature and send both back. Ours says which field of a chat
server the text came in, so that it may go back there; before Anthropic's API it is no signature.
"""

import re
from collections.abc import Mapping

_BEGINNING = "steelyard."
_FIELDS = frozenset({"reasoning_content", "reasoning"})
_THINKING = re.compile(rb'"type"\s*:\s*"thinking"')
_SIGNED = re.compile(rb'"signature"\s*:\s*"(?!steelyard\.)[^"]')
_NO_DATA = re.compile(rb'"data"\s*:\s*""')


def seal_of(field: str) -> str:
    """Return the signature of thinking that came in a field of a chat server's answer."""
    return _BEGINNING + field


def reasoning_field(signature: str | None) -> str | None:
    """Return the field that thinking came in; None where it has another seal, or none."""
    if signature is None or not signature.startswith(_BEGINNING):
        return None
    field = signature[len(_BEGINNING) :]
    return field if field in _FIELDS else None


def is_signed(block: Mapping[str, object]) -> bool:
    """Whether Anthropic's API may take a block of thinking back: its own, with its seal."""
    if block.get("type") == "redacted_thinking":
        return bool(block.get("data"))
    signature = block.get("signature")
    return isinstance(signature, str) and bool(signature) and not signature.startswith(_BEGINNING)


def may_hold_unsigned(messages: bytes) -> bool:
    """Whether it is worth a look if thinking among the messages lacks its seal."""
    if b'thinking"' not in messages:
        return False
    n_blocks = len(_THINKING.findall(messages))
    return n_blocks > len(_SIGNED.findall(messages)) or _NO_DATA.search(messages) is not None
