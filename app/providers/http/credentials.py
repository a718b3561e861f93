"""What we know ourselves by to an upstream, and what it may therefore not repeat to a client."""

import re
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from app.errors import UpstreamError
from app.wire.decoding import DECODE_ERRORS

_SECRET_NAME = re.compile(r"auth|cookie|key|secret|token", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_PASSING = 8
"""Requests with an older token than that are over."""
_WITHHELD = "the upstream reported an error, which is withheld: it repeats a credential"


class Credentials:
    """The secrets of one upstream.

    Parameters
    ----------
    api_key
        The key, if it wants one.
    extra_headers
        Headers of the configuration; those whose names speak of credentials are taken for such.
    """

    __slots__ = ("_passing", "_secrets")

    def __init__(self, api_key: str | None, extra_headers: Sequence[tuple[str, str]] = ()) -> None:
        headers = (value for name, value in extra_headers if _SECRET_NAME.search(name))
        whole = [each for each in (api_key, *headers) if each]
        # Behind a scheme ("Bearer") stands what is secret.
        parts = (part for each in whole for part in each.split() if len(part) >= 8)
        self._secrets = tuple({each.encode() for each in (*whole, *parts)})
        self._passing: deque[bytes] = deque(maxlen=_MAX_PASSING)

    def know(self, secrets: Iterable[str]) -> None:
        """Take note of secrets that expire; of many the latest count."""
        for each in secrets:
            secret = each.encode()
            if secret not in self._passing:
                self._passing.append(secret)

    def clean(self, error: UpstreamError) -> None:
        """Take out of an error whatever repeats a secret."""
        if self._in(error.message.encode()):
            error.message = _WITHHELD
            error.args = (_WITHHELD,)
        if error.body is not None and (self._in(error.body) or self._in(_unescaped(error.body))):
            error.body = None

    def may_pass(self, value: bytes) -> bool:
        """Return whether a header's value may be passed on."""
        return not self._in(value) and _CONTROL.search(value) is None

    def _in(self, text: bytes) -> bool:
        return any(secret in text for secret in (*self._secrets, *self._passing))


def _unescaped(body: bytes) -> bytes:
    """Return every string of a JSON text, without its escapes."""
    try:
        return b"\n".join(_strings(msgspec.json.decode(body)))
    except DECODE_ERRORS:
        return b""


def _strings(value: object) -> Iterable[bytes]:
    if isinstance(value, str):
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _strings(key)
            yield from _strings(each)
