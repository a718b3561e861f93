"""Asking a model, before a decision by threshold, whether the weak model will do (`causal_llm`).

The question and the reading of the reply are `routers.causal_llm`'s; here is the call between.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from app.errors import UpstreamError, UpstreamRejectedError, answer_for
from app.gateway.breaker import Breaker
from app.gateway.ledger import NOTHING_PAID, LedgerEntry, Paid, usage_cost_usd
from app.gateway.paid import Arrived, was_sent
from app.gateway.request import Deployment, Policy, RouteRequest
from app.providers.base import ModelCall, Progress
from app.types import Call, CallRole, Judgement, Usage
from routers.causal_llm import (
    SCORER_MAX_TOKENS,
    SCORER_TOP_LOGPROBS,
    ScorerReply,
    judge,
    scorer_messages,
)
from routers.conversation_text import conversation_text
from routers.token_estimate import estimate_tokens, estimate_tokens_upper
from routers.types import Conversation, Message, ModelSpec, Reason, StrongThreshold

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
    """

    deployments: Mapping[str, Deployment]
    breaker: Breaker
    _without_logprobs: set[str] = field(default_factory=set)
    """Models that refused a request for log-probabilities and took the same without."""

    def concerns(self, request: RouteRequest, policy: Policy) -> ModelSpec | None:
        """Return the scorer that a request is to be shown to.

        None where nobody has to be asked: no scorer, another objective than a threshold, or only
        one of the two models allowed.
        """
        model_id, objective = policy.scorer_model_id, request.objective
        if model_id is None or not isinstance(objective, StrongThreshold):
            return None
        allowed = request.allowed_model_ids
        if allowed is not None and not {objective.strong, objective.weak} <= allowed:
            return None
        return self.deployments[model_id].spec

    async def ask(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, payable: bool = True
    ) -> Judgement:
        """Return what the policy's scorer says within its deadline, or how it failed.

        The call stands in the account however it ends, also where whoever asked is gone: it is
        paid.

        Parameters
        ----------
        payable
            Whether anybody would pay; else nothing is sent.
        """
        assert policy.scorer_model_id is not None  # noqa: S101  (`concerns` said so)
        deployment = self.deployments[policy.scorer_model_id]
        model_id = deployment.spec.model_id
        refusal = None if payable else "model_without_price"
        if model_id in self.breaker.unhealthy():
            refusal = refusal or "unhealthy"
        if refusal is not None:
            call = entry.called(CallRole.JUDGE, model_id, "", duration_s=0.0, error=refusal)
            return Judgement(call=call, failure=Reason.ROUTER_ERROR)
        question = _Question(request, deployment, entry)
        try:
            async with asyncio.timeout(policy.router_deadline_s):
                reply, usage = await self._reply(question)
        except TimeoutError as late:
            self.breaker.failed(model_id)
            return question.failed(late, Reason.ROUTER_TIMEOUT, "upstream_timeout")
        except UpstreamError as caught:
            if caught.provider_fault:
                self.breaker.failed(model_id)
            code = answer_for(caught).code or "upstream_error"
            return question.failed(caught, Reason.ROUTER_ERROR, code)
        except asyncio.CancelledError as left:
            question.failed(left, Reason.ROUTER_ERROR, "cancelled")
            raise
        self.breaker.succeeded(model_id)
        verdict = judge(reply)
        return Judgement(
            call=question.ended(usage, status=200),
            score=verdict.score,
            strong_chance=verdict.strong_chance,
        )

    async def _reply(self, question: "_Question") -> tuple[ScorerReply, Usage]:
        model_id = question.deployment.spec.model_id
        if model_id not in self._without_logprobs:
            try:
                return await question.send(extra=_LOGPROBS)
            except UpstreamRejectedError:
                # Perhaps for the log-probabilities, which not every endpoint knows.
                answer = await question.send()
                self._without_logprobs.add(model_id)
                return answer
        return await question.send()


def price_of_question(request: RouteRequest, spec: ModelSpec) -> tuple[int, float | None]:
    """Return the tokens that a scorer reads and writes at most, and what they cost in US dollars.

    The cost is None where its price is unknown.
    """
    prompt = estimate_tokens_upper(Conversation(_messages(request)))
    cost_usd = spec.prices.cost_usd(input_tokens=prompt, output_tokens=SCORER_MAX_TOKENS)
    return prompt + SCORER_MAX_TOKENS, cost_usd


def _messages(request: RouteRequest) -> tuple[Message, ...]:
    return scorer_messages(conversation_text(request.conversation).prompt)


class _Question:
    """One question to a scorer, and what it has to be paid however it ends."""

    def __init__(self, request: RouteRequest, deployment: Deployment, entry: LedgerEntry) -> None:
        self.deployment = deployment
        self._request = request
        self._messages = _messages(request)
        self._entry = entry
        self._began = entry.clock()
        entry.wait_begins(self._began)
        self._progress = Progress(sent=False)

    def ended(
        self, usage: Usage | None, *, status: int | None = None, error: str | None = None
    ) -> Call:
        """Note that the question came to its end."""
        entry, spec = self._entry, self.deployment.spec
        now = entry.clock()
        entry.wait_ends(now)
        return entry.called(
            CallRole.JUDGE,
            spec.model_id,
            self.deployment.upstream,
            duration_s=now - self._began,
            status=status,
            error=error,
            paid=NOTHING_PAID if usage is None else Paid(usage, usage_cost_usd(usage, spec.prices)),
        )

    def failed(self, error: BaseException, failure: Reason, code: str) -> Judgement:
        """Return that the question ended in `error`; what was sent is paid."""
        usage = None
        if was_sent(self._progress, error):
            arrived = Arrived.of((), self._progress)
            prompt = estimate_tokens(Conversation(self._messages))
            usage = Usage(input_tokens=prompt, output_tokens=arrived.output_tokens, estimated=True)
            if arrived.usage is not None:
                usage = arrived.usage.filled(
                    input_tokens=prompt, output_tokens=arrived.output_tokens
                )
        status = error.status if isinstance(error, UpstreamError) else None
        return Judgement(call=self.ended(usage, status=status, error=code), failure=failure)

    async def send(self, *, extra: Mapping[str, bytes] | None = None) -> tuple[ScorerReply, Usage]:
        """Ask, once."""
        wire = [{"role": each.role.value, "content": each.text} for each in self._messages]
        self._progress = Progress()
        chunks = self.deployment.provider.send(
            ModelCall(
                request_id=self._request.request_id,
                upstream_model=self.deployment.upstream_model,
                fields={"messages": _encode(wire), **_FIELDS, **(extra or {})},
                stream=False,
                timeouts=self.deployment.whole_timeouts,
                progress=self._progress,
            )
        )
        try:
            chunk = await anext(chunks)
        finally:
            await chunks.aclose()
        reply = read_reply(chunk.data)
        counted = _counted(self._messages, reply)
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
