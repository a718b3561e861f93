"""Embeddings: what is asked for, and vectors in the form that the client reads."""

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from app.errors import InvalidRequestError, UpstreamInvalidResponseError
from app.wire.decoding import DECODE_ERRORS
from app.wire.envelope import decode_value

MAX_INPUTS = 2048
BASE64 = "base64"

_WHITE_SPACE = b" \t\r\n"
_NUMBERS = frozenset(b"%d" % digit for digit in range(10)) | {b"-"}
_NULL = msgspec.Raw(b"null")
_TEXT = msgspec.json.Decoder(str)
_TEXTS = msgspec.json.Decoder(list[str])
_TokenId = (  # to JSON, 1.0 is a whole number
    Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | Annotated[float, msgspec.Meta(ge=0, lt=2**31)]
)
_TOKENS = msgspec.json.Decoder(list[_TokenId])
_TOKEN_LISTS = msgspec.json.Decoder(list[list[_TokenId]])
_FORM = msgspec.json.Decoder(str | None)
_VECTOR = msgspec.json.Decoder(list[float])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode

T = TypeVar("T", bound=Sequence[Any])


class Inputs(msgspec.Struct, frozen=True):
    """What is to be embedded: texts, or lists of a tokeniser's numbers."""

    texts: Sequence[str] = ()
    token_counts: Sequence[int] = ()


def read_inputs(raw: Any) -> Inputs:
    """Read the `input` of a request.

    Raises
    ------
    InvalidRequestError
        If it is none, is empty or has an empty entry, or has more entries than are taken.
    """
    value = bytes(raw).lstrip(_WHITE_SPACE)
    if not value.startswith(b"["):
        return Inputs(texts=_filled([decode_value(_TEXT, raw, "input")], "input"))
    first = value[1:].lstrip(_WHITE_SPACE)[:1]
    if first == b'"':
        return Inputs(texts=_filled(decode_value(_TEXTS, raw, "input"), "input[{}]"))
    if first == b"[":
        # An empty list is two bytes: they are counted before any is made.
        _check_number(value.count(b"[") - 1)
        lists = decode_value(_TOKEN_LISTS, raw, "input")
        for tokens in lists:
            _check_tokens(tokens)
        return Inputs(token_counts=tuple(map(len, _filled(lists, "input[{}]"))))
    tokens = decode_value(_TOKENS, raw, "input")
    _check_tokens(tokens)
    return Inputs(token_counts=(len(_filled([tokens], "input")[0]),))


def _filled(entries: list[T], name: str) -> list[T]:
    _check_number(len(entries))
    for index, each in enumerate(entries):
        if not each:
            where = name.format(index)
            raise InvalidRequestError(f"{where} must not be empty", param=where)
    return entries


def _check_number(n: int) -> None:
    if n > MAX_INPUTS:
        raise InvalidRequestError(
            f"the request has {n} inputs; at most {MAX_INPUTS} are taken at once", param="input"
        )


def _check_tokens(tokens: Sequence[float]) -> None:
    if any(type(token) is float and not token.is_integer() for token in tokens):
        raise InvalidRequestError("the tokens of an input are whole numbers", param="input")


def asks_for_base64(fields: Mapping[str, Any]) -> bool:
    """Return whether a request wants its vectors in base64.

    Raises
    ------
    InvalidRequestError
        If it wants a form that there is not.
    """
    if "encoding_format" not in fields:
        return False
    form = decode_value(_FORM, fields["encoding_format"], "encoding_format")
    if form not in (None, "float", BASE64):
        raise InvalidRequestError(
            f"encoding_format {form[:40]!r} is none; send float or base64", param="encoding_format"
        )
    return bool(form == BASE64)


class _Vector(msgspec.Struct):
    index: int | None = None
    embedding: msgspec.Raw = _NULL


class _Answer(msgspec.Struct):
    data: list[_Vector] = []


_decode = msgspec.json.Decoder(_Answer).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_vectors(body: bytes, fields: Mapping[str, bytes]) -> bytes:
    """Return an upstream's answer with its vectors in the order and the form that were asked for.

    Where they are already, that is the very body.

    Parameters
    ----------
    fields
        Of the request.

    Raises
    ------
    UpstreamInvalidResponseError
        If it has not one vector for each input.
    """
    try:
        vectors = _decode(body).data
    except DECODE_ERRORS as error:
        raise UpstreamInvalidResponseError(
            "the upstream's answer holds no embeddings that can be read"
        ) from error
    n_inputs = _number_of_inputs(fields["input"])
    if len(vectors) != n_inputs:
        raise UpstreamInvalidResponseError(
            f"the upstream gave {len(vectors)} embeddings for {n_inputs} inputs"
        )
    wants_base64 = asks_for_base64(fields)
    order = [place if each.index is None else each.index for place, each in enumerate(vectors)]
    in_order = order == list(range(n_inputs))
    if not in_order and sorted(order) != list(range(n_inputs)):
        raise UpstreamInvalidResponseError("the upstream numbered its embeddings wrongly")
    as_asked = all((bytes(each.embedding)[:1] == b'"') is wants_base64 for each in vectors)
    if in_order and as_asked and all(each.index is not None for each in vectors):
        for each in vectors:
            _check(bytes(each.embedding))
        return body
    data: list[Any] = [None] * n_inputs
    for index, each in zip(order, vectors, strict=True):
        vector = _written(bytes(each.embedding), base64_wanted=wants_base64)
        data[index] = {"object": "embedding", "index": index, "embedding": vector}
    return _encode({**_decode_object(body), "data": data})


def _number_of_inputs(raw: bytes) -> int:
    value = raw.lstrip(_WHITE_SPACE)
    if not value.startswith(b"[") or value[1:].lstrip(_WHITE_SPACE)[:1] not in (b'"', b"["):
        return 1
    return len(_RAWS.decode(raw))


def _written(vector: bytes, *, base64_wanted: bool) -> Any:
    is_base64 = vector[:1] == b'"'
    try:
        _check(vector)
        if is_base64 == base64_wanted:
            return msgspec.Raw(vector)
        if is_base64:
            packed = base64.b64decode(_TEXT.decode(vector), validate=True)
            return list(struct.unpack(f"<{len(packed) // 4}f", packed))
        values = _VECTOR.decode(vector)
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (*DECODE_ERRORS, ValueError, struct.error, OverflowError) as error:
        raise UpstreamInvalidResponseError("the upstream gave an embedding that is none") from error


def _check(vector: bytes) -> None:
    """Refuse what is no vector on the face of it; not each of its numbers is looked at.

    Raises
    ------
    UpstreamInvalidResponseError
    """
    if vector[:1] == b'"':
        n_chars = len(vector) - 2
        n_bytes = n_chars * 3 // 4 - vector[-3:-1].count(b"=")
        fine = n_chars > 0 and n_chars % 4 == 0 and n_bytes % 4 == 0
    else:
        fine = vector[:1] == b"[" and vector[1:20].lstrip(_WHITE_SPACE)[:1] in _NUMBERS
    if not fine:
        raise UpstreamInvalidResponseError("the upstream gave an embedding that is none")


def in_float_alone(fields: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the fields of a request for an upstream that knows no base64."""
    for name, raw in fields.items():
        yield name, b'"float"' if name == "encoding_format" else raw
