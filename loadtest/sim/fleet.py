"""Where simulated models are served: servers with quotas and prices, as a gateway knows them."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from app.gateway.latency import USUAL_PACE, Pace
from app.gateway.request import Deployment
from app.providers.base import Chunk, ModelCall, Timeouts
from loadtest.sim.servers import Server
from routers.models import ModelSpec, Prices

FREE = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)


class Quota:
    """So many requests and tokens a minute: two buckets that fill evenly, full at the beginning."""

    def __init__(
        self, *, requests_per_min: float | None = None, tokens_per_min: float | None = None
    ) -> None:
        self._limits = [limit for limit in (requests_per_min, tokens_per_min) if limit]
        self._counts_requests = bool(requests_per_min)
        self._left = list(self._limits)
        self._at = 0.0

    def take(self, now: float, tokens: float) -> float:
        """Take one request of so many tokens; return 0, or in how many seconds there is room."""
        passed, self._at = now - self._at, now
        amounts = [1.0] * self._counts_requests + [tokens]
        wait_s = 0.0
        for i, limit in enumerate(self._limits):
            self._left[i] = min(limit, self._left[i] + passed * limit / 60)
            # More than the bucket holds is let through when it is full: it would never be, else.
            wait_s = max(wait_s, (min(amounts[i], limit) - self._left[i]) * 60 / limit)
        if wait_s > 0:
            return wait_s
        for i in range(len(self._limits)):
            self._left[i] -= amounts[i]
        return 0.0


@dataclass(kw_only=True)
class Place:
    """One deployment of one model on a simulated server.

    Attributes
    ----------
    door
        Takes the requests; the server itself where it serves one model.
    usd_per_hour
        What it costs while it is there, besides its tokens.
    max_rps
        The calls a second that gateways take it to take.
    pace
        How fast gateways take it to be before they have called it.
    succeeds
        The chance that a call is answered; others fail at once, as a 503.
    """

    name: str
    server: Server
    model_id: str = "model"
    door: Callable[[float, int], None] | None = None
    weight: float = 1.0
    quota: Quota | None = None
    prices: Prices = FREE
    usd_per_hour: float = 0.0
    max_rps: float | None = None
    succeeds: float = 1.0
    pace: Pace = USUAL_PACE
    spec: ModelSpec = field(init=False)

    def __post_init__(self) -> None:
        self.spec = ModelSpec(
            model_id=self.model_id,
            predicted_as=self.model_id,
            prices=self.prices,
            context_window_tokens=1_000_000,
        )

    def deployment(self) -> Deployment:
        """Return it as a gateway knows it."""
        return Deployment(
            spec=self.spec,
            upstream=self.name,
            upstream_model=self.model_id,
            provider=_Nowhere(),
            stream_timeouts=Timeouts(),
            whole_timeouts=Timeouts(),
            weight=self.weight,
            usd_per_hour=self.usd_per_hour or None,
            max_rps=self.max_rps,
            pace=self.pace,
        )


class _Nowhere:
    """The provider of a simulated deployment: calls of it are events, nobody sends them."""

    native_dialects: frozenset[str] = frozenset()
    token_counter = None

    async def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:  # noqa: ARG002
        raise NotImplementedError("a simulated call is not sent")
        yield

    async def aclose(self) -> None:
        """Have nothing to close."""
