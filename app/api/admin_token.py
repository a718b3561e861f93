"""The token that opens what belongs to the operator; a virtual key never does."""

import hashlib
import hmac
from collections.abc import Iterable

from app.errors import UnauthenticatedError


class AdminToken:
    """Tell who holds the token, without keeping or comparing it in the clear."""

    def __init__(self, token: str) -> None:
        self._expected = _digest(token.encode())

    def require(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Return if the request carries the token.

        Parameters
        ----------
        headers
            Names in lower case, as ASGI gives them.

        Raises
        ------
        UnauthenticatedError
        """
        if not self.is_held(headers):
            raise UnauthenticatedError(
                "this needs the admin token of the gateway as 'Authorization: Bearer TOKEN'",
                code="invalid_admin_token",
            )

    def is_held(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether the request carries the token, for what others may do too."""
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").strip().partition(b" ")
        found = hmac.compare_digest(_digest(token.strip()), self._expected)
        return scheme.lower() == b"bearer" and found


def _digest(secret: bytes) -> bytes:
    # Digests are of one length, so that comparing them tells nothing of the token's.
    return hashlib.sha256(secret).digest()
