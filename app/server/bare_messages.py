"""Messages that the connection writes by itself, beneath ASGI."""

from collections.abc import Iterable

from app.api.dialects.base import error_answer
from app.errors import GatewayError
from app.ids import new_id

_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


def refusal(error: GatewayError) -> bytes:
    """Return the last answer of a connection: what is wrong, in the shape of an API's error."""
    status, headers, body = error_answer(error)
    request_id = (b"x-request-id", new_id("req-").encode())
    length = (b"content-length", b"%d" % len(body))
    lines = [b"%b: %b" % each for each in (*headers, request_id, length)]
    start = b"HTTP/1.1 %d %b" % (status, _PHRASES[status])
    return b"\r\n".join([start, *lines, b"connection: close", b"", b""]) + body


def head_without_upgrade(request_line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without its wish for another protocol."""
    lines = [request_line]
    for name, value in headers:
        if name == b"connection":
            value = b"close" if b"close" in value.lower() else b"keep-alive"  # noqa: PLW2901
        if name != b"upgrade":
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
