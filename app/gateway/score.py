"""Asking a model, before a decision by threshold, whether the weak model will do (`causal_llm`).

The question and the reading of the reply are `routers.causal_llm`'s; here is the call between.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from app.errors import UpstreamError, UpstreamRejectedError, answer_for
from app.gateway.breaker import Breaker
from app.gateway.ledger import usage_cost_usd
from app.gateway.request import Deployment, Policy, RouteRequest
from app.providers._base import ModelCall
from app.types import ScorerCall, Usage
from routers.causal_llm import (
    SCORER_MAX_TOKENS,
    SCORER_TOP_LOGPROBS,
    ScorerReply,
    judge,
    scorer_messages,
)
from routers.conversation_text import conversation_text
from routers.token_estimate import estimate_tokens
from routers.types import Conversation, Message, Reason, StrongThreshold

_encode = msgspec.json.Encoder().encode

_FIELDS = {"temperature": b"0", "max_tokens": _encode(SCORER_MAX_TOKENS)}
_LOGPROBS = {"logprobs": b"true", "top_logprobs": _encode(SCORER_TOP_LOGPROBS)}


class _Token(msgspec.Struct, gc=False):
    token: str
    logprob: float


class _Position(msgspec.Struct, gc=False):
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Position] | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice]


_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_logprobs = msgspec.json.Decoder(_Logprobs | None).decode


@dataclass(slots=True, kw_only=True)
class Scorer:
    """Asks the models that policies name as their scorers.

    Attributes
    ----------
    breaker
        Its own: a model may be too slow to score in time and still answer well.
    on_call
        Told of every call, with the name of the policy, for the metrics.
    """

    deployments: Mapping[str, Deployment]
    breaker: Breaker
    clock: Callable[[], float]
    on_call: Callable[[str, ScorerCall], None]
    _without_logprobs: set[str] = field(default_factory=set)
    """Models that refused a request for log-probabilities and took the same without."""

    async def ask(self, request: RouteRequest, policy: Policy) -> ScorerCall | None:
        """Return what the policy's scorer says within its deadline, or how it failed.

        None where nobody has to be asked: no scorer, another objective than a threshold, or only
        one of the two models allowed.
        """
        model_id, objective = policy.scorer_model_id, request.objective
        if model_id is None or not isinstance(objective, StrongThreshold):
            return None
        allowed = request.allowed_model_ids
        if allowed is not None and not {objective.strong, objective.weak} <= allowed:
            return None
        call = await self._ask(request, model_id, deadline_s=policy.router_deadline_s)
        self.on_call(policy.name, call)
        return call

    async def _ask(self, request: RouteRequest, model_id: str, *, deadline_s: float) -> ScorerCall:
        if model_id in self.breaker.unhealthy():
            return ScorerCall(
                model_id=model_id, duration_s=0.0, failure=Reason.ROUTER_ERROR, error="unhealthy"
            )
        began = self.clock()
        failure, error = Reason.ROUTER_ERROR, None
        try:
            async with asyncio.timeout(deadline_s):
                reply, usage = await self._reply(request, self.deployments[model_id])
        except TimeoutError:
            failure, error = Reason.ROUTER_TIMEOUT, "upstream_timeout"
            self.breaker.failed(model_id)
        except UpstreamError as caught:
            error = answer_for(caught).code or "upstream_error"
            if caught.provider_fault:
                self.breaker.failed(model_id)
        duration_s = self.clock() - began
        if error is not None:
            return ScorerCall(
                model_id=model_id, duration_s=duration_s, failure=failure, error=error
            )
        self.breaker.succeeded(model_id)
        verdict = judge(reply)
        return ScorerCall(
            model_id=model_id,
            duration_s=duration_s,
            score=verdict.score,
            strong_chance=verdict.strong_chance,
            usage=usage,
            cost_usd=usage_cost_usd(usage, self.deployments[model_id].spec.prices),
        )

    async def _reply(
        self, request: RouteRequest, deployment: Deployment
    ) -> tuple[ScorerReply, Usage]:
        messages = scorer_messages(conversation_text(request.conversation).prompt)
        model_id = deployment.spec.model_id
        if model_id not in self._without_logprobs:
            try:
                return await _send(request, deployment, messages, extra=_LOGPROBS)
            except UpstreamRejectedError:
                # Perhaps for the log-probabilities, which not every endpoint knows.
                answer = await _send(request, deployment, messages)
                self._without_logprobs.add(model_id)
                return answer
        return await _send(request, deployment, messages)


async def _send(
    request: RouteRequest,
    deployment: Deployment,
    messages: tuple[Message, ...],
    *,
    extra: Mapping[str, bytes] | None = None,
) -> tuple[ScorerReply, Usage]:
    wire = [{"role": message.role.value, "content": message.text} for message in messages]
    chunks = deployment.provider.send(
        ModelCall(
            request_id=request.request_id,
            upstream_model=deployment.upstream_model,
            fields={"messages": _encode(wire), **_FIELDS, **(extra or {})},
            stream=False,
            timeouts=deployment.whole_timeouts,
        )
    )
    try:
        chunk = await anext(chunks)
    finally:
        await chunks.aclose()
    reply = read_reply(chunk.data)
    counted = _counted(messages, reply)
    if chunk.usage is None:
        return reply, counted
    return reply, chunk.usage.filled(
        input_tokens=counted.input_tokens, output_tokens=counted.output_tokens
    )


def read_reply(data: bytes) -> ScorerReply:
    """Read the text and the log-probabilities of an answer; what is not there is empty."""
    try:
        choices = _decode_completion(data).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ScorerReply(text="")  # no score, which calls the strong model
    if not choices:
        return ScorerReply(text="")
    return ScorerReply(
        text=choices[0].message.content or "", top_logprobs=_top_logprobs(choices[0].logprobs)
    )


def _top_logprobs(raw: msgspec.Raw) -> tuple[Mapping[str, float], ...]:
    try:
        logprobs = _decode_logprobs(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()  # of another shape than OpenAI's: the text still tells the score
    if logprobs is None or logprobs.content is None:
        return ()
    return tuple(
        {each.token: each.logprob for each in position.top_logprobs}
        for position in logprobs.content
    )


def _counted(messages: tuple[Message, ...], reply: ScorerReply) -> Usage:
    return Usage(
        input_tokens=estimate_tokens(Conversation(messages)),
        output_tokens=max(1, estimate_tokens(reply.text)),
        estimated=True,
    )
