"""Secrets of virtual keys: made here, shown once, known from then on by their digest alone."""

import hashlib
import secrets

PREFIX = "sk-sy-"
"""Begins every secret, so that scanners of repositories and logs can find one that leaked."""

_SECRET_BYTES = 32
_ID_BYTES = 6


def new_secret() -> str:
    """Return a new secret: the prefix and 256 random bits in base64url, 49 characters."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def new_key_id() -> str:
    """Return a new public name: `key-` and 12 hexadecimal digits."""
    return f"key-{secrets.token_hex(_ID_BYTES)}"


def digest_of(secret: bytes) -> str:
    """Return the SHA-256 digest of a secret, 64 hexadecimal digits.

    A fast hash is enough: nobody can try 2**256 random secrets, unlike passwords.
    """
    return hashlib.sha256(secret).hexdigest()
