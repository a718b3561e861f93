"""What has to be known of a call so that it is paid and bounded, whatever its dialect."""

import json
from collections.abc import Mapping

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
"""How clients spell the limit of an answer; which one counts is the server's to say."""

_MAX_USAGE_BYTES = 16_384
_read = json.JSONDecoder().raw_decode


def usage_in(body: bytes, *, key: bytes) -> bytes | None:
    """Return the JSON of the token counts in an answer that was cut; None if they are not in it.

    Parameters
    ----------
    key
        What they stand behind: `"usage":`.
    """
    start = body.rfind(key)
    if start < 0:
        return None
    start += len(key)
    rest = body[start : start + _MAX_USAGE_BYTES].decode("utf-8", "replace").lstrip()
    try:
        told, end = _read(rest)
    except (ValueError, RecursionError):
        return None
    return rest[:end].encode() if isinstance(told, dict) else None


def with_output_limit(
    fields: Mapping[str, bytes], max_tokens: int, *, field: str
) -> Mapping[str, bytes]:
    """Return the fields of a request with another limit of the answer, in tokens.

    A smaller one of the client's stays.

    Parameters
    ----------
    field
        Where the limit stands if the client names none.
    """
    named = [name for name in OUTPUT_LIMITS if fields.get(name, b"null").strip() != b"null"]
    changed = [name for name in named if float(fields[name]) > max_tokens]
    return {**fields, **dict.fromkeys(changed if named else (field,), b"%d" % max_tokens)}
