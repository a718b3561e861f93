"""Conversations that keep their model: recall who answered last, weigh, remember who answers now.

What is kept of a conversation is a model's name, a time, a number of tokens and a reason, under
a hash. A store that fails costs stickiness, never a request.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from app.config.models import MARK
from app.gateway.documents import heed_documents
from app.gateway.images import here
from app.gateway.request import RouteRequest
from app.gateway.session import IdSource, Session, identify
from app.gateway.stalls import heed_stalls
from app.head import RequestHead
from app.lineage import Lineage
from app.paths import MESSAGES
from app.stores.base import Blobs, StoreError
from app.usage import Usage
from app.wire.turns import Turn
from routers.decision.switching import LastTurn, Scarcity, SessionReason, Verdict, weigh
from routers.decisions import Decision
from routers.models import ModelSpec

_log = logging.getLogger(__name__)

_MAX_THREADS = 4
"""Conversations of one harness session that are told apart; the newest are kept."""


class _Turn(msgspec.Struct, frozen=True, array_like=True):
    thread: str
    model_id: str
    used_at: float
    """Seconds since the epoch: replicas share it."""
    prefix_tokens: int
    reason: SessionReason
    stall: int = 0
    """How much had gone wrong in the task."""


class Recalled(msgspec.Struct, frozen=True):
    """What the store knows of a conversation, newest turn first."""

    turns: tuple[_Turn, ...] = ()
    store_failed: bool = False


NOTHING_KNOWN = Recalled()

_decode = msgspec.msgpack.Decoder(tuple[_Turn, ...]).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTurn:
    """One turn of a conversation: its decision, and what `remember` needs to know.

    Attributes
    ----------
    session
        None where the conversation is not followed.
    known
        What the store held, newest first.
    stall
        How much went wrong in the task so far.
    """

    verdict: Verdict
    session: Session | None = None
    known: tuple[_Turn, ...] = ()
    lifetime_s: float = 0.0
    stall: int = 0

    def leaves_for(self, spec: ModelSpec) -> bool:
        """Whether a model takes the conversation over from another one, between two of its turns.

        While a model waits for the results of its tools it may need back what it thought.
        """
        previous = self.verdict.previous_model_id
        if previous is None or self.session is None:
            return False
        stalled = self.verdict.reason is SessionReason.STALLED
        if self.session.lock is SessionReason.LOCKED_TOOLS and not stalled:
            return False
        return previous.partition(MARK)[0] != (spec.variant_of or spec.model_id)

    def reason(self, served_model_id: str | None, *, escalated: bool = False) -> SessionReason:
        """Return why the conversation is where it is, now that a model serves it.

        Fallbacks may have moved it on, or back to where it was.

        Parameters
        ----------
        escalated
            Whether a cascade moved it on because the decided model's answer would not do.
        """
        verdict = self.verdict
        previous = verdict.previous_model_id
        moved = served_model_id is not None and served_model_id != verdict.decision.model_id
        if previous is None or not moved:
            return verdict.reason
        if served_model_id == previous:
            return SessionReason.RETAIN
        if escalated:
            return SessionReason.SWITCH
        if verdict.decision.model_id == previous:
            return SessionReason.MOVED_UNHEALTHY
        return verdict.reason


def place(request: RouteRequest, head: RequestHead, turns: Sequence[Turn]) -> RouteRequest:
    """Return the request with its place in a conversation, if it is to be followed.

    Whose run it is part of is noted of every request whose client says so.

    Raises
    ------
    InvalidRequestError
        If the session id that the client states cannot be one.
    """
    lineage = Lineage.of(head, request.fields.get("session_id"), scope=request.caller.key_id)
    if lineage is not None:
        request = replace(request, lineage=lineage)
    request = heed_stalls(heed_documents(request, turns), turns)
    policy = request.policy
    if policy is None or request.pinned_model_id is not None:
        return request
    # It is said to us; most upstreams refuse fields that they do not know.
    body = request.body.without("session_id")
    if not request.affinity or policy.affinity is None:
        return request if body is request.body else replace(request, body=body)
    return replace(
        request,
        session=identify(
            head,
            request.fields,
            turns,
            scope=request.caller.key_id,
            # Of the Messages API's, what another model cannot read is taken out.
            seals_bind=request.body.dialect != MESSAGES,
            tools_bind=request.stall is None,
        ),
        body=body,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """Follows conversations across requests.

    Attributes
    ----------
    now
        Seconds since the epoch.
    on_store_error
        Told of every call that the store did not answer ("get" or "put"); a store may count
        them itself.
    """

    blobs: Blobs
    now: Callable[[], float]
    on_store_error: Callable[[str], None] = lambda _call: None

    async def recall(self, request: RouteRequest) -> Recalled:
        """Look up what is known of the conversation; its decision is not needed for that."""
        session = request.session
        if session is None or not session.lookup or request.pinned_model_id is not None:
            return NOTHING_KNOWN
        try:
            return Recalled(_decoded(await self.blobs.get(session.name)))
        except StoreError:
            self.on_store_error("get")
            return Recalled(store_failed=True)

    async def follow(
        self,
        request: RouteRequest,
        decision: Decision,
        recalled: Awaitable[Recalled] | None = None,
        *,
        scarcity_of: Callable[[str], Scarcity] | None = None,
    ) -> SessionTurn | None:
        """Weigh a decision against the model that the conversation is on.

        Returns None for a request that the router does not decide.

        Parameters
        ----------
        recalled
            What `recall` gives, where it was called before the decision.
        scarcity_of
            What the load says of the model that the conversation is on; None: nothing.
        """
        policy = request.policy
        if policy is None or request.pinned_model_id is not None:
            return None
        session, affinity = request.session, policy.affinity
        if session is None or affinity is None:
            return SessionTurn(verdict=Verdict(decision=decision, reason=SessionReason.OFF))
        stall = 0 if request.stall is None else request.stall.level
        found = await (self.recall(request) if recalled is None else recalled)
        known = found.turns
        reason = SessionReason.INITIALIZE
        if found.store_failed:
            reason = SessionReason.STORE_UNAVAILABLE
        elif session.lookup and session.lock is not None:
            reason = SessionReason.UNKNOWN_ORIGIN
        last = _last(session, known)
        if last is not None and (policy.arm_of or policy.images is not None):
            ranked = (decision.model_id, *decision.fallbacks)
            last = replace(last, model_id=here(policy, last.model_id, ranked))
        if last is None:
            verdict = Verdict(decision=decision, reason=reason)
        else:
            verdict = weigh(
                decision,
                LastTurn(
                    model_id=last.model_id,
                    prefix_tokens=last.prefix_tokens,
                    idle_s=max(self.now() - last.used_at, 0.0),
                ),
                objective=request.objective or policy.objective,
                prices=next(
                    (each.prices for each in policy.candidates if each.model_id == last.model_id),
                    None,
                ),
                rule=affinity.rule,
                lock=session.lock,
                stalled=stall > last.stall,
                scarcity=None if scarcity_of is None else scarcity_of(last.model_id),
            )
        return SessionTurn(
            verdict=verdict,
            session=session,
            known=known,
            lifetime_s=affinity.lifetime_s,
            stall=stall,
        )

    async def remember(
        self,
        turn: SessionTurn,
        *,
        served_model_id: str,
        usage: Usage | None,
        reason: SessionReason | None = None,
    ) -> None:
        """Note which model answered; the next turn of the conversation starts from it.

        Parameters
        ----------
        usage
            Of the answer; what was read and written is the prefix of the next turn.
        reason
            Why the conversation is with that model; None where the turn says it.
        """
        session = turn.session
        if session is None:
            return
        newest = _Turn(
            thread=session.thread,
            model_id=served_model_id,
            used_at=self.now(),
            prefix_tokens=0 if usage is None else usage.input_tokens + usage.output_tokens,
            reason=reason or turn.reason(served_model_id),
            stall=turn.stall,
        )
        others = [each for each in turn.known if each.thread != session.thread]
        try:
            await self.blobs.put(
                session.name,
                _encode((newest, *others[: _MAX_THREADS - 1])),
                lifetime_s=turn.lifetime_s,
            )
        except StoreError:
            self.on_store_error("put")


def _decoded(value: bytes | None) -> tuple[_Turn, ...]:
    if value is None:
        return ()
    try:
        return _decode(value)
    except msgspec.DecodeError:
        _log.warning("a remembered session cannot be read; written by another release?")
        return ()


def _last(session: Session, known: tuple[_Turn, ...]) -> _Turn | None:
    for turn in known:
        if turn.thread == session.thread:
            return turn
    # A harness that drops or sums up its oldest messages changes how the conversation begins;
    # one that only begins is a conversation of its own.
    if known and session.source is IdSource.HARNESS and session.continued:
        return known[0]
    return None
