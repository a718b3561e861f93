"""Failures of Bedrock: what they are called stands beside their body, in headers."""

import re

import msgspec

from app.errors import UpstreamError, UpstreamMisconfiguredError, UpstreamUnavailableError
from app.providers.http.error_body import error_detail
from app.providers.http.errors import Headers, error_from_status
from app.providers.http.wordings import unquoted
from app.providers.translation.errors import openai_error_body
from app.wire.decoding import DECODE_ERRORS

_NO_SUCH_MODEL = re.compile(
    r"model identifier is invalid|inference profile[^.]{0,60}(?:not|n't) (?:exist|found)"
    r"|could not resolve the foundation model",
    re.IGNORECASE,
)
_FAILED_DEPENDENCY = 424
"""The model itself failed: no fault of the request's."""

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def error_type(headers: Headers) -> str:
    """Return what AWS calls a failure, without what may follow its name."""
    for name, value in headers:
        if name.lower() == b"x-amzn-errortype":
            return value.decode("latin-1").partition(":")[0].rpartition("#")[2].strip()
    return ""


def with_type(body: bytes, kind: str) -> bytes:
    """Return an error's body that says what it is called."""
    try:
        told = _decode(body)
    except DECODE_ERRORS:
        told = {"message": msgspec.Raw(_encode(body.decode("utf-8", "replace")))} if body else {}
    return _encode({"__type": kind, **told} if kind else told)


def error_of(status: int, headers: Headers, body: bytes, *, now_s: float) -> UpstreamError:
    """Turn an answer that is no success into the error it means."""
    named = with_type(body, error_type(headers))
    detail = error_detail(named)
    if status == 400 and detail is not None and _NO_SUCH_MODEL.search(unquoted(detail.said)):
        # It comes as a bad request, and is none: the client cannot mend it.
        return UpstreamMisconfiguredError(
            "the upstream answered 400 (it knows no such model)", status=status
        )
    if status == _FAILED_DEPENDENCY:
        return UpstreamUnavailableError(
            "the upstream answered 424 (its model failed)", status=status
        )
    error = error_from_status(status, headers, named, now_s=now_s)
    if error.body is not None:
        error.body = openai_error_body(named)
    return error
