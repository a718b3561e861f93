"""Put anchors to one model over HTTP, a bounded number at a time."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.gateway.request import Deployment
from app.providers.base import Chunk, ModelCall
from app.usage import ToldUsage
from routers.models import ModelSpec
from routers.training.onboarding.anchors import Anchor
from routers.training.onboarding.run import Answer

_ATTEMPTS = 3
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_HOPELESS = 5
"""Failures without a single answer after which nobody goes on asking."""

_SHOWN_CHARS = 300
"""How much of an upstream's own words is shown."""


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


class AnchorClient:
    """The calls to one model, and what they cost.

    Attributes
    ----------
    spent_usd
        So far; None where a price is unknown.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        fields: dict[str, bytes],
        concurrency: int,
        tell: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.spent_usd: float | None = 0.0
        self._fields = fields
        self._free = asyncio.Semaphore(concurrency)
        self._tell = tell
        self._answered = self._failed = 0

    async def all(self, deployment: Deployment, anchors: tuple[Anchor, ...]) -> list[Answer | None]:
        """Return the answers in the order of the anchors; None where there is none.

        Raises
        ------
        UpstreamError
            If the first calls all fail.
        """
        step = max(1, len(anchors) // 10)

        async def one(anchor: Anchor) -> Answer | None:
            async with self._free:
                answer = await self._persist(deployment, anchor)
            done = self._answered + self._failed
            if done % step == 0 or done == len(anchors):
                progress = f"{done}/{len(anchors)} asked, {self._failed} without an answer"
                self._tell(f"{self.spec.model_id}: {progress}")
            return answer

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(anchor)) for anchor in anchors]
        except* UpstreamError as errors:
            first = _first(errors)
            words = (first.body or b"").decode("utf-8", "replace")[:_SHOWN_CHARS]
            raise UpstreamError(f"{self.spec.model_id}: {first.message} {words}") from first
        return [task.result() for task in tasks]

    async def _persist(self, deployment: Deployment, anchor: Anchor) -> Answer | None:
        wait_s = _FIRST_WAIT_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._once(deployment, anchor)
            except UpstreamError as error:
                if error.retryable and attempt < _ATTEMPTS:
                    await asyncio.sleep(min(error.retry_after_s or wait_s, _LONGEST_WAIT_S))
                    wait_s *= 2
                    continue
                self._failed += 1
                if self._answered == 0 and self._failed >= _HOPELESS:
                    raise
                return None
            self._answered += 1
            return answer
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, deployment: Deployment, anchor: Anchor) -> Answer:
        messages = [{"role": "user", "content": anchor.prompt}]
        fields = {"messages": msgspec.json.encode(messages), **self._fields}
        call = ModelCall(
            request_id=f"onboard-{anchor.anchor_id}",
            upstream_model=deployment.upstream_model,
            fields=deployment.parameters.apply(fields)[0],
            stream=False,
            timeouts=deployment.whole_timeouts,
        )
        chunks = deployment.provider.send(call)
        began = time.perf_counter()
        try:
            chunk = await anext(chunks)
        finally:
            await chunks.aclose()
        duration_s = time.perf_counter() - began
        text = _text(chunk)
        told = chunk.usage or ToldUsage()
        usage = told.filled(input_tokens=0, output_tokens=max(1, len(text) // 4))
        self._spend(usage.input_tokens, usage.output_tokens)
        return Answer(text=text, output_tokens=usage.output_tokens, duration_s=duration_s)

    def _spend(self, input_tokens: int, output_tokens: int) -> None:
        cost = self.spec.prices.cost_usd(input_tokens=input_tokens, output_tokens=output_tokens)
        if cost is None or self.spent_usd is None:
            self.spent_usd = None
        else:
            self.spent_usd += cost


def _text(chunk: Chunk) -> str:
    """Return what was said; a refusal or a tool call is no answer to an anchor."""
    try:
        choices = msgspec.json.decode(chunk.data, type=_Completion).choices
    except msgspec.DecodeError as error:
        raise UpstreamInvalidResponseError(f"the answer is no chat completion ({error})") from error
    message = choices[0].message if choices else None
    return (message.content or "") if message else ""


def _first(errors: BaseExceptionGroup[UpstreamError]) -> UpstreamError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, UpstreamError)  # noqa: S101  (what `except*` let in)
    return error
