"""Requests through the transport itself, without a provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from app.http_client.transport import HttptoolsTransport

BODY = b'{"q":1}'
TIMEOUT = {"connect": 60.0, "read": 60.0, "write": 60.0, "pool": 60.0}


@asynccontextmanager
async def transport(**options: object) -> AsyncIterator[HttptoolsTransport]:
    """Check on the way out that nothing is left open."""
    made = HttptoolsTransport(**options)
    try:
        yield made
    finally:
        await made.aclose()
        for pool in made._pools.values():
            assert not pool._open
            assert not pool._idle
            assert pool._n_slots == 0


def request(
    url: str,
    *,
    body: bytes = BODY,
    method: str = "POST",
    fresh: bool = False,
    **timeout: float | None,
):
    return httpx.Request(
        method,
        url,
        headers=[(b"X-Test", b"1"), (b"Content-Length", b"%d" % len(body))],
        stream=httpx.ByteStream(body),
        extensions={"timeout": {**TIMEOUT, **timeout}, "fresh": fresh},
    )


async def fetch(client: HttptoolsTransport, url: str, **options) -> tuple[httpx.Response, bytes]:
    response = await client.handle_async_request(request(url, **options))
    parts = [part async for part in response.stream]
    await response.stream.aclose()
    return response, b"".join(parts)
