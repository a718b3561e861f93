"""Tokens of Google Cloud by its application default credentials, through its own library.

The extra `vertex` installs it. Nothing of it is imported before a token is asked for.
"""

import asyncio
import importlib
import importlib.util
from datetime import UTC
from typing import Any

from app.errors import ConfigError, UpstreamMisconfiguredError
from app.providers.http.tokens import Token

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GoogleSource:
    """A service account, a user's login or the metadata server: what the environment has.

    Raises
    ------
    ConfigError
        If the library is not there.
    """

    def __init__(self) -> None:
        if _missing("google.auth"):
            raise ConfigError(
                "without api_key_env, token_command and token_file a Vertex upstream takes the "
                "application default credentials of Google; what reads them is not installed: "
                "pip install 'steelyard[vertex]'"
            )
        self._credentials: Any = None

    async def fetch(self) -> Token:
        """Return a new token."""
        return await asyncio.to_thread(self._refreshed)

    def _refreshed(self) -> Token:
        auth: Any = importlib.import_module("google.auth")  # an extra
        failures: Any = importlib.import_module("google.auth.exceptions")
        transport: Any = importlib.import_module("google.auth.transport.requests")
        try:
            if self._credentials is None:
                self._credentials, _ = auth.default(scopes=[_SCOPE])
            self._credentials.refresh(transport.Request())
        except failures.GoogleAuthError as error:
            raise UpstreamMisconfiguredError(
                f"there is no token for the upstream: {type(error).__name__}", sent=False
            ) from error
        ends = self._credentials.expiry.replace(tzinfo=UTC)
        return Token(self._credentials.token, ends.timestamp())


def _missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True
