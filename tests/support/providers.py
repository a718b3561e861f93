"""A provider that does what a script says: the in-tree fake of the provider seam."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from app.gateway.latency import USUAL_PACE, Pace
from app.gateway.request import Deployment
from app.providers.base import Chunk, ModelCall, Timeouts
from routers.models import ModelSpec, Prices

HANG = object()
"""A step that never comes."""


class ScriptedProvider:
    """Yield the chunks, raise the errors and hang where the script says so.

    Steps are one script for every call; `in_turn` takes a script per call, the last for all
    further ones.
    """

    def __init__(self, *steps: object, in_turn: Sequence[Sequence[object]] = ()) -> None:
        self.scripts = in_turn or (steps,)
        self.calls: list[ModelCall] = []
        self.ended = 0
        self.native_dialects: frozenset[str] = frozenset()
        self.token_counter = None

    async def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:
        script = self.scripts[min(len(self.calls), len(self.scripts) - 1)]
        self.calls.append(call)
        try:
            for step in script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                    continue
                if step is HANG:
                    await asyncio.get_running_loop().create_future()
                if isinstance(step, Exception):
                    raise step
                assert isinstance(step, Chunk)
                yield step
        finally:
            self.ended += 1

    async def aclose(self) -> None:
        pass


def deployment(
    model_id: str,
    provider: ScriptedProvider,
    *,
    first_token_s: float = 5.0,
    input_usd_per_mtok: float | None = 1.0,
    capabilities: Sequence[str] = (),
    upstream: str = "scripted",
    weight: float = 1.0,
    retries: int = 0,
    total_s: float = 600.0,
    max_rps: float | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    pace: Pace = USUAL_PACE,
) -> Deployment:
    """Place a model on a scripted provider."""
    timeouts = Timeouts(first_token_s=first_token_s, total_s=total_s)
    return Deployment(
        spec=ModelSpec(
            model_id=model_id,
            predicted_as=model_id,
            prices=Prices(input_usd_per_mtok=input_usd_per_mtok, output_usd_per_mtok=10.0),
            context_window_tokens=8192,
            capabilities=frozenset(capabilities),
        ),
        upstream=upstream,
        pace=pace,
        upstream_model=f"upstream-{model_id}",
        provider=provider,
        stream_timeouts=timeouts,
        whole_timeouts=timeouts,
        weight=weight,
        retries=retries,
        max_rps=max_rps,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
