"""Asking a model a question of the gateway's own: a scorer's, a judge's, a planner's.

It goes the way of every upstream call: pool, leases, retries, traces, account. What is asked, and
what a reply means, is said in `routers.decision`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

import msgspec

from app.calls import Call, CallRole
from app.concurrency.deadline import Deadline
from app.errors import GatewayError, UpstreamRejectedError
from app.gateway.deployments.breaker import Circuit
from app.gateway.dispatch import Afford, Dispatcher
from app.gateway.failed_attempts import Failures
from app.gateway.ledger import LedgerEntry
from app.gateway.open_answer import OpenAnswer
from app.gateway.plan import FirstOf
from app.gateway.request import RouteRequest
from app.gateway.steps import stage_of
from app.wire.body import Body
from app.wire.instructions import before_messages
from routers.decision.causal_llm import SCORER_TOP_LOGPROBS, ScorerReply
from routers.models import MEDIA, Demand
from routers.text.token_estimate import estimate_tokens, estimate_tokens_upper
from routers.types import Conversation, Message

_encode = msgspec.json.Encoder().encode

_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"})
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


class Silence(Enum):
    """Why no reply came."""

    LEFT_ALONE = "left alone"
    """The model is failing, or was late several times; it was not asked."""
    LATE = "late"
    FAILED = "failed"


class Reply(NamedTuple):
    """What became of a question.

    Attributes
    ----------
    call
        The last one that was made to its model.
    opened, stage, body
        The answer as it was read, closed by now, its account, and its bytes.
    """

    call: Call
    said: ScorerReply | None = None
    silence: Silence | None = None
    opened: OpenAnswer | None = None
    stage: LedgerEntry | None = None
    body: bytes = b""


@dataclass(slots=True, kw_only=True)
class Questions:
    """Asks questions.

    Attributes
    ----------
    max_late, cooldown_s
        How many replies in a row may be late before a model is left alone, and for how long. Such
        a model may still answer well, which its deployments' own circuits go by.
    """

    dispatcher: Dispatcher
    max_late: int = 5
    cooldown_s: float = 15.0
    _late: dict[str, Circuit] = field(default_factory=dict)
    _without_logprobs: set[str] = field(default_factory=set)
    """Models that refused a request for log-probabilities and took the same without."""

    async def ask(
        self,
        question: RouteRequest,
        model_id: str,
        entry: LedgerEntry,
        *,
        deadline_s: float,
        role: CallRole = CallRole.JUDGE,
        logprobs: bool = True,
    ) -> Reply:
        """Return what a model says within a deadline, or why nothing.

        Its calls stand in the account however they end, also where whoever asked is gone: they are
        paid.

        Parameters
        ----------
        role
            What the question is for.
        logprobs
            Whether the log-probabilities of the reply are wanted.
        """
        if self._is_left_alone(model_id):
            silent = unsent(model_id, entry, "unhealthy", role=role)
            return Reply(silent, silence=Silence.LEFT_ALONE)
        failures: Failures = []
        try:
            with Deadline(deadline_s):
                reply = await self._reply(
                    question, model_id, entry, role, logprobs=logprobs, failures=failures
                )
        except TimeoutError:
            self._was_late(model_id)
            return Reply(entry.overdue(model_id), silence=Silence.LATE)
        except GatewayError:
            # Others may ask it at the same time: its latest call need not be this one's.
            call = failures[-1][0] if failures else entry.calls[entry.latest(model_id)]
            return Reply(call, silence=Silence.FAILED)
        self._late.pop(model_id, None)
        return reply

    def _is_left_alone(self, model_id: str) -> bool:
        if model_id in self.dispatcher.pool.unhealthy():
            return True
        circuit = self._late.get(model_id)
        return circuit is not None and not circuit.allows(self.dispatcher.clock())

    def _was_late(self, model_id: str) -> None:
        circuit = self._late.setdefault(
            model_id, Circuit(max_failures=self.max_late, cooldown_s=self.cooldown_s)
        )
        now = self.dispatcher.clock()
        circuit.failed(now, began=now)

    async def _reply(
        self,
        question: RouteRequest,
        model_id: str,
        entry: LedgerEntry,
        role: CallRole,
        *,
        logprobs: bool,
        failures: Failures,
    ) -> Reply:
        if not logprobs or model_id in self._without_logprobs:
            return await self._send(question, model_id, entry, role, failures)
        asked = msgspec.structs.replace(question, body=Body({**question.fields, **_LOGPROBS}))
        try:
            return await self._send(asked, model_id, entry, role, failures)
        except UpstreamRejectedError:
            # Perhaps for the log-probabilities, which not every endpoint knows.
            reply = await self._send(question, model_id, entry, role, failures)
            self._without_logprobs.add(model_id)
            return reply

    async def _send(
        self,
        question: RouteRequest,
        model_id: str,
        entry: LedgerEntry,
        role: CallRole,
        failures: Failures,
    ) -> Reply:
        """Ask, as every model is asked, but once where a budget has to pay."""
        with stage_of(entry, question, role) as stage:
            plan = FirstOf((model_id,))
            opened = await self.dispatcher.open(
                question, plan, stage, afford=_once(), failures=failures
            )
            try:
                body = b"".join([chunk.data for chunk in opened.prelude])
                async for chunk in self.dispatcher.rest(opened, stage):
                    stage.saw(chunk)
                    body += chunk.data
            finally:
                await opened.aclose()
        return Reply(
            stage.calls[stage.served_at],
            read_reply(body),
            opened=opened,
            stage=stage,
            body=body,
        )


def question_of(
    request: RouteRequest,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    temperature: float = 0.0,
) -> RouteRequest:
    """Return a question asked on behalf of a request; nothing else of that is told."""
    conversation = Conversation(tuple(messages))
    return msgspec.structs.replace(
        request,
        conversation=conversation,
        demand=Demand(
            input_tokens=estimate_tokens(conversation),
            input_tokens_upper=estimate_tokens_upper(conversation),
            max_output_tokens=max_tokens,
        ),
        body=Body(
            {
                "messages": _wire_messages(messages),
                "temperature": _encode(temperature) if temperature else b"0",
                "max_tokens": _encode(max_tokens),
            }
        ),
        stream=False,
        headers=(),
    )


def question_about(
    request: RouteRequest, before: Sequence[Message], *, max_tokens: int
) -> RouteRequest:
    """Return what a request says, pictures and all, with messages before it, as a question."""
    chat = request.body.chat()
    conversation = Conversation((*before, *request.conversation.messages))
    messages = before_messages(chat.get("messages", b"[]"), _wire_messages(before))
    said = estimate_tokens_upper(Conversation(tuple(before)))
    return msgspec.structs.replace(
        request,
        conversation=conversation,
        demand=Demand(
            input_tokens=request.demand.input_tokens + said,
            input_tokens_upper=request.demand.input_tokens_upper + said,
            max_output_tokens=max_tokens,
            capabilities=request.demand.capabilities & MEDIA,
            media=request.demand.media,
        ),
        body=Body({"messages": messages, "max_tokens": _encode(max_tokens)}),
        stream=False,
        headers=(),
    )


def _wire_messages(messages: Sequence[Message]) -> bytes:
    """Return messages as they stand in a request."""
    return _encode([{"role": each.role.value, "content": each.text} for each in messages])


def in_other_words(request: RouteRequest, messages: Sequence[Message]) -> RouteRequest:
    """Return a request with other messages; its tools go: whoever words them has none."""
    conversation = Conversation(tuple(messages))
    fields = {name: raw for name, raw in request.body.chat().items() if name not in _TOOLS}
    fields["messages"] = _wire_messages(messages)
    return msgspec.structs.replace(
        request,
        conversation=conversation,
        demand=replace(
            request.demand,
            input_tokens=estimate_tokens(conversation),
            input_tokens_upper=estimate_tokens_upper(conversation),
        ),
        body=Body(fields, untold=request.body.untold),
    )


def unsent(model_id: str, entry: LedgerEntry, why: str, *, role: CallRole = CallRole.JUDGE) -> Call:
    """Note a question that was not asked."""
    return entry.called(role, model_id, "", duration_s=0.0, error=why)


def _once() -> Afford:
    """Return what lets a question be paid once: so much is reserved."""
    paid = False

    async def afford(_request: RouteRequest, _model_id: str, _entry: LedgerEntry) -> bool:
        nonlocal paid
        first, paid = not paid, True
        return first

    return afford


def read_reply(data: bytes) -> ScorerReply:
    """Read the text and the log-probabilities of an answer; what is not there is empty."""
    try:
        choices = _decode_completion(data).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ScorerReply(text="")  # no digit, which calls the strong model
    if not choices:
        return ScorerReply(text="")
    return ScorerReply(
        text=choices[0].message.content or "", top_logprobs=_top_logprobs(choices[0].logprobs)
    )


def _top_logprobs(raw: msgspec.Raw) -> tuple[Mapping[str, float], ...]:
    try:
        logprobs = _decode_logprobs(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()  # of another shape than OpenAI's: the text still tells the digit
    if logprobs is None or logprobs.content is None:
        return ()
    return tuple(
        {each.token: each.logprob for each in position.top_logprobs}
        for position in logprobs.content
    )
