"""An endpoint that says how hard a prompt is: asked in one small JSON, answered in another."""

import json
from typing import cast

import httpx

from app.errors import UpstreamInvalidResponseError, UpstreamUnavailableError
from app.providers.http.errors import error_from_exception

MAX_ANSWER_BYTES = 65_536
"""A few words and their chances are shorter by far."""


class DecisionEndpoint:
    """Asks one address.

    Parameters
    ----------
    key
        Shown as a bearer token; None shows nothing.
    """

    def __init__(self, url: str, *, key: str | None, transport: httpx.AsyncBaseTransport) -> None:
        self._url = httpx.URL(url)
        self._transport = transport
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    async def ask(self, prompt: str) -> bytes:
        """Return what the endpoint answers; how long it may take is for the caller to say.

        Raises
        ------
        UpstreamError
            If it cannot be reached, answers with another status than 200, or at too great length.
        """
        request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=json.dumps({"prompt": prompt}).encode(),
        )
        try:
            response = await self._transport.handle_async_request(request)
            stream = cast("httpx.AsyncByteStream", response.stream)
            try:
                if response.status_code != 200:
                    raise UpstreamUnavailableError(
                        f"the decision model answered with status {response.status_code}",
                        status=response.status_code,
                    )
                return await _bounded(stream)
            finally:
                await stream.aclose()
        except httpx.TransportError as error:
            raise error_from_exception(error) from error

    async def aclose(self) -> None:
        """Let go of its connections."""
        await self._transport.aclose()


async def _bounded(stream: httpx.AsyncByteStream) -> bytes:
    body = bytearray()
    async for data in stream:
        body += data
        if len(body) > MAX_ANSWER_BYTES:
            raise UpstreamInvalidResponseError(
                f"the decision model answered with over {MAX_ANSWER_BYTES} bytes"
            )
    return bytes(body)
