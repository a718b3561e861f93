"""Headers of requests to upstreams: which ones are the gateway's own, and as bytes."""

from app.errors import ConfigError

OUR_HEADERS = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"api-key",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"transfer-encoding",
        b"user-agent",
        b"x-amz-date",
        b"x-amz-security-token",
        b"x-api-key",
        b"x-goog-api-key",
    }
)
"""What a client sends under these names is not passed on."""


def encoded_header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a configured header as it is sent.

    Raises
    ------
    ConfigError
        If it cannot be sent as it is.
    """
    if not (name + value).isascii() or not (name + value).isprintable():
        # The value may be a key: it is not shown.
        raise ConfigError(f"header {name!r} has a value with line breaks or non-ASCII characters")
    return name.encode("ascii"), value.encode("ascii")
