"""Requests signed for AWS, by its own library.

The extra `bedrock` installs it. Nothing of it is imported before a request is signed.
"""

import asyncio
import importlib
import importlib.util
import re
from collections.abc import Sequence
from typing import Any

import httpx

from app.errors import ConfigError, UpstreamMisconfiguredError
from app.providers.base import Identity
from app.providers.converse.errors import error_type
from app.providers.http.errors import Headers

SERVICE = "bedrock"
_REGION = re.compile(r"\bbedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")
_STALE = frozenset({"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException"})


class AwsSignatures:
    """Signs with what AWS' tools would find: variables, profiles, roles, the machine's identity.

    Credentials that expire are renewed by the library before they do; what reads them anew may have
    to ask servers, and runs in a thread.

    Raises
    ------
    ConfigError
        If the library is not there, or the region not known.
    """

    def __init__(self, host: str, identity: Identity) -> None:
        if importlib.util.find_spec("botocore") is None:
            raise ConfigError(
                "without api_key_env a Bedrock upstream is asked with signed requests; what signs "
                "them is not installed: pip install 'steelyard[bedrock]'"
            )
        found = _REGION.search(host)
        region = identity.aws_region or (None if found is None else found[1])
        if region is None:
            raise ConfigError(
                "base_url names no region that requests are signed for; write aws_region"
            )
        self._region = region
        self._profile = identity.aws_profile
        self._credentials: Any = None
        self._reading = asyncio.Lock()

    async def authorise(self, request: httpx.Request) -> Sequence[str]:
        """Sign a request."""
        credentials = self._credentials
        if credentials is None or _needs_refresh(credentials):
            async with self._reading:
                frozen = await asyncio.to_thread(self._read)
        else:
            frozen = credentials.get_frozen_credentials()
        self._sign(request, frozen)
        return [each for each in (frozen.access_key, frozen.token) if each]

    def renews(self, status: int, headers: Headers) -> bool:
        """Forget credentials that are refused as such: they may have been replaced."""
        if status not in (401, 403) or error_type(headers) not in _STALE:
            return False
        self._credentials = None
        return True

    def _read(self) -> Any:
        sessions: Any = importlib.import_module("botocore.session")
        failures: Any = importlib.import_module("botocore.exceptions")
        try:
            if self._credentials is None:
                self._credentials = sessions.Session(profile=self._profile).get_credentials()
            if self._credentials is None:
                raise UpstreamMisconfiguredError(
                    "there are no credentials of AWS for the upstream", sent=False
                )
            return self._credentials.get_frozen_credentials()
        except failures.BotoCoreError as error:
            raise UpstreamMisconfiguredError(
                f"there are no credentials of AWS for the upstream: {type(error).__name__}",
                sent=False,
            ) from error

    def _sign(self, request: httpx.Request, frozen: Any) -> None:
        requests: Any = importlib.import_module("botocore.awsrequest")
        auth: Any = importlib.import_module("botocore.auth")
        url = request.url
        netloc, path = url.netloc.decode("ascii"), url.raw_path.decode("ascii")
        stream = request.stream
        assert isinstance(stream, httpx.ByteStream)  # noqa: S101  (a body is made whole)
        signed = requests.AWSRequest(
            method=request.method,
            url=f"{url.scheme}://{netloc}{path}",
            data=b"".join(stream),
            headers={name: request.headers[name] for name in ("Host", "Content-Type")},
        )
        auth.SigV4Auth(frozen, SERVICE, self._region).add_auth(signed)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token"):
            if name in signed.headers:
                request.headers[name] = signed.headers[name]


def _needs_refresh(credentials: Any) -> bool:
    ask = getattr(credentials, "refresh_needed", None)
    return bool(ask is not None and ask())
