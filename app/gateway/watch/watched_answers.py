"""What is kept of an answer for the watch over its model, and what that shows.

While the request runs only references are kept; what they show is made out later, of many answers
together.
"""

import math

import msgspec

from app.calls import WATCHED
from app.gateway.excerpt import BEGINNING_BYTES, Excerpt
from app.gateway.ledger import LedgerEntry
from app.wire.answer_beginning import beginning
from app.wire.answer_validity import holds_valid_json
from routers.answers.refusals import MAX_TOKENS, declines
from routers.models import Capability
from routers.watch.reference import size_class
from routers.watch.signals import Observation, Placed, Signal

Place = tuple[str, str, str]
"""A model, the upstream that serves it, and that one's name for it."""

_BY_ITSELF = frozenset(
    {"stop", "end_turn", "stop_sequence", "completed", "pause_turn", "eos"}
    | {"tool_calls", "tool_use", "function_call"}
)
_WITH_TOOLS = frozenset({"tool_calls", "tool_use", "function_call"})
AT_A_LIMIT = frozenset(
    {"length", "max_tokens", "incomplete", "max_output_tokens", "model_context_window_exceeded"}
)
_REFUSED = frozenset({"refusal", "content_filter"})
_ROOM = 3.0
"""A limit so many times as long as the answer was predicted does not shape it."""
_LEAST_S = 1e-4
_LEAST_TOKENS = 32


class Seen(msgspec.Struct, kw_only=True, gc=False):
    """One answer, as its request left it.

    Attributes
    ----------
    predicted_tokens
        By the router; None where nothing was predicted.
    predictor
        Of what artifact that is.
    limit_tokens
        What the client wants at most.
    began_s
        From the call to the first content; None of an answer that did not stream.
    streamed_s
        From there to its end.
    """

    place: Place
    predicted_tokens: float | None
    predictor: str
    input_tokens: int
    output_tokens: int | None
    limit_tokens: int | None
    n_answers: int
    n_chars: int
    finish_reason: str | None
    began_s: float | None
    streamed_s: float
    excerpt: Excerpt | None
    text_is_json: bool
    has_tools: bool
    answered: str | None


def place_of(entry: LedgerEntry) -> Place | None:
    """Return whose answer a request got; None where no upstream gave one."""
    served = entry.served
    if served is None:
        return None
    return served.spec.model_id, *served.key


def seen_of(entry: LedgerEntry, place: Place) -> Seen | None:
    """Return what is kept of a request's answer; None where it says nothing of its model.

    An answer that was not read to its end says nothing, nor do the words of judges, planners and
    guards. What the router predicted is not of an answer that a workflow asked for in its own
    words.
    """
    course, call = entry.course, entry.calls[entry.served_at]
    if entry.whole_answer is None or call.role not in WATCHED:
        return None
    request = entry.request
    # The account of a question has no decision.
    decision = None if course is not None and course.in_own_words else entry.decision
    estimate = None if decision is None else decision.estimate(place[0])
    usage, demand = entry.whole_answer.usage, request.demand
    first_s = entry.time_to_first_token_s or 0.0
    return Seen(
        place=place,
        predicted_tokens=None if estimate is None else estimate.output_tokens,
        predictor="" if request.policy is None else request.policy.artifact.version,
        input_tokens=demand.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        limit_tokens=entry.max_output_tokens.get(place[0], demand.max_output_tokens),
        n_answers=demand.n_answers,
        n_chars=entry.arrived.n_chars,
        finish_reason=entry.arrived.finish_reason,
        began_s=call.duration_s if request.stream else None,
        streamed_s=entry.clock() - entry.started - first_s,
        excerpt=entry.excerpt,
        text_is_json=b"json" in request.fields.get("response_format", b""),
        has_tools=Capability.TOOLS in demand.capabilities,
        answered=entry.response_model,
    )


def observation_of(seen: Seen) -> Observation:
    """Return what an answer shows of its model."""
    tokens, predicted, limit = seen.output_tokens, seen.predicted_tokens, seen.limit_tokens
    ended, roomy = seen.finish_reason, limit is None or (predicted or math.inf) * _ROOM <= limit
    events: list[tuple[Signal, bool]] = []
    declined = ended in _REFUSED
    excerpt = seen.excerpt
    if not declined and excerpt is not None and tokens is not None and tokens <= MAX_TOKENS:
        declined = _declines(excerpt)
    events.append((Signal.REFUSAL, declined))
    if ended is not None:
        events.append((Signal.EMPTY, seen.n_chars == 0 and ended not in _WITH_TOOLS | _REFUSED))
        if roomy:
            events.append((Signal.TRUNCATED, ended in AT_A_LIMIT))
        known = ended in _BY_ITSELF or ended in AT_A_LIMIT or ended in _REFUSED
        events.append((Signal.ODD_END, not known))
    if excerpt is not None and excerpt.is_whole and (seen.text_is_json or ended in _WITH_TOOLS):
        valid = holds_valid_json(
            excerpt.pieces,
            streamed=excerpt.streamed,
            dialect=excerpt.dialect,
            text_is_json=seen.text_is_json,
        )
        if valid is not None:
            events.append((Signal.INVALID, not valid))
    return Observation(
        length=_length(seen) if roomy else None,
        first_s=None
        if seen.began_s is None
        else Placed(str(size_class(seen.input_tokens)), _log_s(seen.began_s)),
        s_per_token=None
        if seen.began_s is None or tokens is None or tokens < _LEAST_TOKENS
        else Placed("", _log_s(seen.streamed_s / tokens)),
        events=tuple(events),
        answered=seen.answered,
    )


def _declines(excerpt: Excerpt) -> bool:
    """Return whether a short answer declines to answer."""
    text, refused = beginning(b"".join(excerpt.pieces)[:BEGINNING_BYTES])
    return refused or declines(text)


def _length(seen: Seen) -> Placed | None:
    """Return how an answer's length compares with what was predicted of it, if that was."""
    predicted, tokens = seen.predicted_tokens, seen.output_tokens
    if not predicted or tokens is None or seen.n_answers != 1 or seen.finish_reason in _REFUSED:
        return None
    asked = "json" if seen.text_is_json else "tools" if seen.has_tools else "text"
    kind = f"{seen.predictor} {asked} {size_class(predicted)}"
    return Placed(kind, math.log(max(tokens, 1) / max(predicted, 1.0)))


def _log_s(seconds: float) -> float:
    return math.log(max(seconds, _LEAST_S))
