"""How long a prompt is, before it is asked: for clients of the Messages and the Responses API.

Nothing is generated and nobody is billed, but it counts for the limits of requests. A pinned model
whose upstream counts by itself says it exactly; of anything else it is our estimate.
"""

from dataclasses import dataclass, replace

import msgspec
from starlette.types import Receive, Scope, Send

from app.api.answering import Reception, Visit
from app.api.answers import JSON_HEADER
from app.api.asgi import CancelOnDisconnect
from app.api.dialects.messages import REQUEST_ID, Messages
from app.api.dialects.responses import Responses
from app.api.exchange import send_error
from app.errors import (
    ClientDisconnectedError,
    GatewayError,
    UpstreamError,
    UpstreamRejectedError,
)
from app.gateway.request import RouteRequest
from app.paths import COUNT_TOKENS_ROUTE, INPUT_TOKENS_ROUTE, MESSAGES
from app.providers.base import ModelCall, Provider
from routers.errors import RoutingError

_COUNTED_BY = b"x-route-tokens-counted-by"
_UPSTREAM_S = 10.0
"""How long an upstream may take to count; after that our estimate has to do."""


class TokenCounting(Messages):
    """The same dialect, of requests that no answer follows."""

    path = COUNT_TOKENS_ROUTE

    def counted(self, n_tokens: int) -> bytes:
        """Return what is answered."""
        return msgspec.json.encode({"input_tokens": n_tokens})


class InputTokenCounting(Responses):
    """The same of the Responses API."""

    path = INPUT_TOKENS_ROUTE

    def counted(self, n_tokens: int) -> bytes:
        """Return what is answered."""
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": n_tokens})


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTokensEndpoint:
    """The ASGI application behind one of the paths."""

    dialect: TokenCounting | InputTokenCounting
    reception: Reception

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        visit = self.reception.enter()
        request_id: str = scope["state"]["request_id"]
        try:
            request = await self.reception.take(self.dialect, visit, scope, receive)
            await self.reception.charge(visit, scope)
            async with CancelOnDisconnect(scope, receive) as watch:
                body, counted_by = await self._count(visit, request)
                watch.disarm()
        except ClientDisconnectedError:
            return
        except (GatewayError, RoutingError) as error:
            self.reception.refused(scope, error, visit.caller)
            await send_error(send, error, dialect=self.dialect, request_id=request_id)
            return
        finally:
            self.reception.leave(visit)
        headers = [
            JSON_HEADER,
            (b"content-length", b"%d" % len(body)),
            (_COUNTED_BY, counted_by),
        ]
        if isinstance(self.dialect, TokenCounting):
            headers.append((REQUEST_ID, request_id.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _count(self, visit: Visit, request: RouteRequest) -> tuple[bytes, bytes]:
        """Return the answer, and who counted.

        Raises
        ------
        UpstreamRejectedError
            If the upstream finds the request itself at fault.
        """
        pinned = request.pinned_model_id
        if pinned is not None:
            pool = visit.serving.gateway.dispatcher.pool
            lease = pool.lease(pinned)
            deployment = lease.deployment
            try:
                counter: Provider | None = deployment.provider.token_counter
                if counter is not None and request.body.dialect == MESSAGES:
                    fields, _ = deployment.takes(request, request.body.sent, dialect=MESSAGES)
                    call = ModelCall(
                        request_id=request.request_id,
                        upstream_model=deployment.upstream_model,
                        dialect=MESSAGES,
                        fields=fields,
                        stream=False,
                        timeouts=replace(deployment.whole_timeouts, first_token_s=_UPSTREAM_S),
                        headers=request.headers,
                    )
                    return b"".join([chunk.data async for chunk in counter.send(call)]), b"upstream"
            except UpstreamRejectedError:
                raise
            except UpstreamError:
                pass  # it may not know how to; what we estimate is better than nothing
            finally:
                lease.release()
        tokens = max(request.demand.input_tokens, 1)
        return self.dialect.counted(tokens), b"estimate"
