"""One request and the head of its answer, whatever shows the upstream who asks."""

import asyncio
from typing import cast

import httpx

from app.errors import UpstreamTimeoutError
from app.providers.http.credentials import Credentials
from app.providers.http.errors import error_from_exception
from app.providers.http.tokens import Authoriser


class Exchange:
    """Sends requests, with a credential that lasts.

    Parameters
    ----------
    authoriser
        Puts credentials that expire on requests; None where they are fixed.
    credentials
        Takes note of them.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        authoriser: Authoriser | None,
        credentials: Credentials,
    ) -> None:
        self._transport = transport
        self._authoriser = authoriser
        self._credentials = credentials

    async def send(self, request: httpx.Request, *, within_s: float) -> httpx.Response:
        """Send a request, once more where a credential had expired that can be had anew.

        Parameters
        ----------
        within_s
            How long a credential may be waited for.

        Raises
        ------
        UpstreamError
            If there is no credential, or no answer.
        """
        if self._authoriser is None:
            return await self._sent(request)
        await self._authorise(request, self._authoriser, within_s)
        response = await self._sent(request)
        if self._authoriser.renews(response.status_code, response.headers.raw):
            await cast("httpx.AsyncByteStream", response.stream).aclose()
            await self._authorise(request, self._authoriser, within_s)
            response = await self._sent(request)
        return response

    async def _authorise(
        self, request: httpx.Request, authoriser: Authoriser, within_s: float
    ) -> None:
        try:
            async with asyncio.timeout(within_s):
                secrets = await authoriser.authorise(request)
        except TimeoutError as error:
            raise UpstreamTimeoutError(
                "there was no credential for the upstream in time", sent=False
            ) from error
        self._credentials.know(secrets)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            raise error_from_exception(error) from error
