"""Errors of other APIs told in OpenAI's shape."""

import msgspec

from app.providers.http.error_body import ErrorDetail, error_detail

_encode = msgspec.json.Encoder().encode


def openai_error_body(body: bytes) -> bytes:
    """Tell an error body in OpenAI's shape; what is none stays as it is."""
    detail = error_detail(body)
    if detail is None:
        return body
    return _encode(
        {
            "error": {
                "message": detail.message,
                "type": detail.type or None,
                "param": None,
                "code": _code(detail),
            }
        }
    )


def _code(detail: ErrorDetail) -> str | None:
    if detail.too_long:
        return "context_length_exceeded"
    return None if detail.type == "invalid_request_error" else detail.type or None
