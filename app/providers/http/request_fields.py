"""Fields of a request told in the words of servers that know only some of OpenAI's."""

from collections.abc import Mapping

import msgspec

from app.providers.http.paid import OUTPUT_LIMITS

_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_DEVELOPER = msgspec.Raw(b'"developer"')


def with_developer_as(fields: Mapping[str, bytes], role: str) -> Mapping[str, bytes]:
    """Return the fields with another role for the messages of developers.

    What cannot be read stays as it is: the upstream says better than we what is wrong with it.
    """
    try:
        messages = _MESSAGES.decode(fields.get("messages", b"[]"))
    except _ERRORS:
        return fields
    told = msgspec.Raw(msgspec.json.encode(role))
    found = [each for each in messages if each.get("role") == _DEVELOPER]
    for message in found:
        message["role"] = told
    return {**fields, "messages": msgspec.json.encode(messages)} if found else fields


def with_limit_as(fields: Mapping[str, bytes], name: str) -> Mapping[str, bytes]:
    """Return the fields with the limit of the answer under this name alone."""
    limits = [fields[each] for each in OUTPUT_LIMITS if each in fields and fields[each] != b"null"]
    if not limits:
        return fields
    kept = {key: value for key, value in fields.items() if key not in OUTPUT_LIMITS}
    return {**kept, name: limits[0]}
