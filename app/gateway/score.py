"""Asking a model, before a decision by threshold, whether the weak model will do (`causal_llm`).

The question and the reading of the reply are of `routers.decision.causal_llm`; here is the call.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from app.errors import GatewayError, UpstreamRejectedError
from app.gateway.breaker import Breaker
from app.gateway.dispatch import Afford, Dispatcher
from app.gateway.ledger import LedgerEntry
from app.gateway.plan import FirstOf
from app.gateway.request import Policy, RouteRequest
from app.types import CallRole, Judgement
from app.wire.body import Body
from routers.decision.causal_llm import (
    SCORER_MAX_TOKENS,
    SCORER_TOP_LOGPROBS,
    ScorerReply,
    judge,
    scorer_messages,
)
from routers.text.conversation import conversation_text
from routers.text.token_estimate import estimate_tokens, estimate_tokens_upper
from routers.types import Conversation, Demand, Message, ModelSpec, Reason, StrongThreshold

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
    """Asks the models that policies name as their scorers, by the way of every upstream call.

    Attributes
    ----------
    lateness
        Of scorers that keep no deadline: such a model may still answer well, which its deployments'
        own circuits go by.
    """

    dispatcher: Dispatcher
    specs: Mapping[str, ModelSpec]
    lateness: Breaker
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
        return self.specs[model_id]

    async def ask(
        self, request: RouteRequest, policy: Policy, entry: LedgerEntry, *, payable: bool = True
    ) -> Judgement:
        """Return what the policy's scorer says within its deadline, or how it failed.

        Its calls stand in the account however they end, also where whoever asked is gone: they are
        paid.

        Parameters
        ----------
        payable
            Whether anybody would pay; else nothing is sent.
        """
        model_id = policy.scorer_model_id
        assert model_id is not None  # noqa: S101  (`concerns` said so)
        if not payable:
            return _not_asked(model_id, entry, "model_without_price")
        if model_id in self.dispatcher.pool.unhealthy() or model_id in self.lateness.unhealthy():
            return _not_asked(model_id, entry, "unhealthy")
        try:
            async with asyncio.timeout(policy.router_deadline_s):
                reply = await self._reply(request, model_id, entry)
        except TimeoutError:
            self.lateness.failed(model_id)
            return Judgement(call=entry.overdue(), failure=Reason.ROUTER_TIMEOUT)
        except GatewayError:
            return Judgement(call=entry.calls[-1], failure=Reason.ROUTER_ERROR)
        self.lateness.succeeded(model_id)
        verdict = judge(reply)
        return Judgement(
            call=entry.calls[-1], score=verdict.score, strong_chance=verdict.strong_chance
        )

    async def _reply(self, request: RouteRequest, model_id: str, entry: LedgerEntry) -> ScorerReply:
        question = question_of(request)
        if model_id in self._without_logprobs:
            return await self._send(question, model_id, entry)
        fields = {**question.fields, **_LOGPROBS}
        try:
            return await self._send(
                msgspec.structs.replace(question, body=Body(fields)), model_id, entry
            )
        except UpstreamRejectedError:
            # Perhaps for the log-probabilities, which not every endpoint knows.
            reply = await self._send(question, model_id, entry)
            self._without_logprobs.add(model_id)
            return reply

    async def _send(self, question: RouteRequest, model_id: str, entry: LedgerEntry) -> ScorerReply:
        """Ask, as every model is asked, but once where a budget has to pay."""
        with entry.stage(question, CallRole.JUDGE) as stage:
            plan = FirstOf((model_id,))
            opened = await self.dispatcher.open(question, plan, stage, afford=_once())
            try:
                body = b"".join([chunk.data for chunk in opened.prelude])
                async for chunk in self.dispatcher.rest(opened, stage):
                    stage.saw(chunk)
                    body += chunk.data
            finally:
                await opened.aclose()
        return read_reply(body)


def question_of(request: RouteRequest) -> RouteRequest:
    """Return the question whether a request needs the strong model; nothing else of it is told."""
    messages = _messages(request)
    conversation = Conversation(messages)
    wire = [{"role": each.role.value, "content": each.text} for each in messages]
    return msgspec.structs.replace(
        request,
        conversation=conversation,
        demand=Demand(
            input_tokens=estimate_tokens(conversation),
            input_tokens_upper=estimate_tokens_upper(conversation),
            max_output_tokens=SCORER_MAX_TOKENS,
        ),
        body=Body({"messages": _encode(wire), **_FIELDS}),
        stream=False,
        headers=(),
    )


def _not_asked(model_id: str, entry: LedgerEntry, why: str) -> Judgement:
    call = entry.called(CallRole.JUDGE, model_id, "", duration_s=0.0, error=why)
    return Judgement(call=call, failure=Reason.ROUTER_ERROR)


def _once() -> Afford:
    """Return what lets a question be paid once: so much is reserved."""
    paid = False

    async def afford(_request: RouteRequest, _model_id: str, _entry: LedgerEntry) -> bool:
        nonlocal paid
        first, paid = not paid, True
        return first

    return afford


def price_of_question(request: RouteRequest, spec: ModelSpec) -> tuple[int, float | None]:
    """Return the tokens that a scorer reads and writes at most, and what they cost in US dollars.

    The cost is None where its price is unknown.
    """
    prompt = estimate_tokens_upper(Conversation(_messages(request)))
    cost_usd = spec.prices.cost_usd(input_tokens=prompt, output_tokens=SCORER_MAX_TOKENS)
    return prompt + SCORER_MAX_TOKENS, cost_usd


def _messages(request: RouteRequest) -> tuple[Message, ...]:
    return scorer_messages(conversation_text(request.conversation).prompt)


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
