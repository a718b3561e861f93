"""Reading JSON that others wrote."""

from typing import Any

import msgspec

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What that raises, whatever they wrote: texts need not be UTF-8, and may be nested without end."""


def read_or_none(raw: Any) -> Any:
    """Return what JSON says, as plain values; None where it is empty or none."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except DECODE_ERRORS:
        return None
