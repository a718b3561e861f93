"""Answers read into structs; fields of another shape than documented count as not there."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from app.errors import UpstreamInvalidResponseError
from app.providers.http.lenient import Mender, mended_json
from app.wire.decoding import DECODE_ERRORS

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def read_struct(
    data: bytes,
    kind: type[_Struct],
    mender: Mender,
    *,
    decode: Callable[[bytes], _Struct],
    what: str,
) -> _Struct:
    """Read a JSON object.

    Parameters
    ----------
    decode
        Reads what is as documented.
    what
        It is, where it can be read by no reading: "an answer that is no message".

    Raises
    ------
    UpstreamInvalidResponseError
        If it is no JSON object by any reading.
    """
    try:
        return decode(data)
    except DECODE_ERRORS:
        pass
    try:
        value = mender.read_unmended(data)
    except ValueError as error:
        raise UpstreamInvalidResponseError(f"the upstream sent {what}") from error
    if not isinstance(value, dict):
        raise UpstreamInvalidResponseError(f"the upstream sent {what}")
    return _converted(value, kind)


def _converted(value: Mapping[str, Any], kind: type[_Struct]) -> _Struct:
    """Return a struct of those fields whose values are of their types."""
    fields: dict[str, Any] = {}
    for each in msgspec.structs.fields(kind):
        part = value.get(each.encode_name)
        if part is None:
            continue
        if each.type is msgspec.Raw:
            fields[each.name] = msgspec.Raw(mended_json(part))
        elif isinstance(part, dict) and (inner := _struct_in(each.type)) is not None:
            fields[each.name] = _converted(part, inner)
        elif isinstance(part, list) and (inner := _struct_in_list(each.type)) is not None:
            fields[each.name] = [_converted(item, inner) for item in part if isinstance(item, dict)]
        else:
            with contextlib.suppress(msgspec.ValidationError):
                fields[each.name] = msgspec.convert(part, each.type)
    return kind(**fields)


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct of an annotation such as `Block | None`."""
    for each in get_args(annotation):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def _struct_in_list(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct of an annotation such as `list[Block] | None`."""
    for each in get_args(annotation):
        if get_origin(each) is list:
            return _struct_in(each)
    return None
