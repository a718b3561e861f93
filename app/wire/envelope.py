"""The body of a request as JSON, taken apart one level deep."""

import re
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.wire.bounds import MAX_FIELDS, check_utf8
from app.wire.decoding import DECODE_ERRORS

_HALF_A_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])")
_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_envelope(body: bytes) -> dict[str, Any]:
    """Take a JSON object apart one level deep: name → `msgspec.Raw`.

    Raises
    ------
    InvalidRequestError
        If it is none, no UTF-8, or of too many fields.
    """
    if not body.strip():
        raise InvalidRequestError("the request body is empty; send a JSON object")
    check_utf8(body)
    try:
        fields = _ENVELOPE.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("the request body must be a JSON object") from error
    except msgspec.DecodeError as error:
        half = _HALF_A_PAIR.search(body)
        why = str(error)
        if half is not None:  # the decoder would say that the body is cut off
            why = f"{half[1].decode()} is half of a surrogate pair, and the other half is missing"
        raise InvalidRequestError(f"could not parse the request body as JSON: {why}") from error
    except RecursionError as error:
        raise InvalidRequestError("the request body is nested too deeply") from error
    if len(fields) > MAX_FIELDS:
        raise InvalidRequestError(
            f"the request body has {len(fields)} fields; at most {MAX_FIELDS} are taken"
        )
    return fields


def decode_value(
    decoder: msgspec.json.Decoder[Any], raw: Any, name: str, at: int | None = None, then: str = ""
) -> Any:
    """Decode a value in a request.

    Parameters
    ----------
    name, at, then
        Where it stands, as `messages`, 3 and `.content`: told where it is wrong.

    Raises
    ------
    InvalidRequestError
        With the `param` at fault.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where = name if at is None else f"{name}[{at}]{then}"
        param = where + path.rstrip("`")
        raise InvalidRequestError(f"invalid type for {param}: {message}", param=param) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(f"could not parse {name}: {error}", param=name) from error


def with_model(body: bytes, model: str) -> bytes:
    """Return a body that names another model; one that is no JSON object stays as it is."""
    try:
        fields = _ENVELOPE.decode(body)
    except DECODE_ERRORS:
        return body
    return msgspec.json.encode({**fields, "model": model})
