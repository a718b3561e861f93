"""What a server says that it has loaded: asked beside the requests, never on their path."""

from collections.abc import Mapping
from typing import Any, cast

import httpx
import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError, UpstreamUnavailableError
from app.providers.http.errors import error_from_exception

MAX_ANSWER_BYTES = 4_000_000

_PATHS = {
    "ollama": "/api/ps",
    "llama_cpp": "/v1/models",
    "llama_swap": "/running",
    "models": "/v1/models",
}


class LoadedModels:
    """Asks one server which models it has in memory.

    Parameters
    ----------
    reads
        In which way: `ollama`, `llama_cpp`, `llama_swap` or `models`.
    base_url
        As upstreams have it, `/v1` at its end.
    headers
        Sent with every question.
    """

    def __init__(
        self,
        reads: str,
        *,
        base_url: str,
        headers: Mapping[str, str],
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self._reads, self._transport, self._headers = reads, transport, dict(headers)
        self._url = httpx.URL(base_url.rstrip("/").removesuffix("/v1") + _PATHS[reads])

    async def read(self) -> frozenset[str]:
        """Return the models that are loaded, by the server's names for them.

        Raises
        ------
        UpstreamError
            If it cannot be reached, or does not say so.
        """
        timeouts = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
        request = httpx.Request(
            "GET", self._url, headers=self._headers, extensions={"timeout": timeouts}
        )
        try:
            response = await self._transport.handle_async_request(request)
            stream = cast("httpx.AsyncByteStream", response.stream)
            try:
                if response.status_code != 200:
                    raise UpstreamUnavailableError(
                        f"{self._url.path} was answered with status {response.status_code}"
                    )
                body = bytearray()
                async for data in stream:
                    body += data
                    if len(body) > MAX_ANSWER_BYTES:
                        raise self._unreadable()
            finally:
                await stream.aclose()
        except httpx.TransportError as error:
            raise error_from_exception(error) from error
        try:
            return _names(self._reads, msgspec.json.decode(bytes(body)))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable() from error

    async def aclose(self) -> None:
        """Let go of its connections."""
        await self._transport.aclose()

    def _unreadable(self) -> UpstreamError:
        return UpstreamInvalidResponseError(
            f"{self._url.path} does not say what is loaded as `reads: {self._reads}` expects it"
        )


def _names(reads: str, answer: Any) -> frozenset[str]:
    if reads == "ollama":
        # A name without a tag means the latest one; /api/ps writes it out.
        names = {str(each["name"]) for each in answer["models"]}
        return frozenset(names | {name.removesuffix(":latest") for name in names})
    if reads == "llama_swap":
        return frozenset(each["model"] for each in answer["running"] if each["state"] == "ready")
    if reads == "llama_cpp":
        loaded = (each for each in answer["data"] if each["status"]["value"] == "loaded")
        return frozenset(str(each["id"]) for each in loaded)
    return frozenset(str(each["id"]) for each in answer["data"])
