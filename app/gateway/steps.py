"""Steps on the way to an answer: accounts of their own, whose calls stand in the request's."""

import contextlib
from collections.abc import Iterable, Iterator

import msgspec

from app.calls import WATCHED, CallRole
from app.gateway.excerpt import excerpt_of
from app.gateway.ledger import LedgerEntry, code_of
from app.gateway.request import RouteRequest
from app.providers.base import Chunk


@contextlib.contextmanager
def stage_of(entry: LedgerEntry, request: RouteRequest, role: CallRole) -> Iterator[LedgerEntry]:
    """Keep the account of a step.

    Parameters
    ----------
    entry
        Of the request.
    request
        What is asked in this step.
    """
    stage = _stage(entry, request, role)
    try:
        yield stage
    except BaseException as error:
        stage.end_stage(code_of(error))
        raise
    else:
        stage.end_stage(None)
    finally:
        entry.upstream_wait_s += stage.upstream_wait_s
        entry.queued_s += stage.queued_s


def draft_of(entry: LedgerEntry, request: RouteRequest) -> LedgerEntry:
    """Return the account of an answer that is held back, which `adopt` or `end_stage` ends.

    Its model may use what the request reserved, and no more.
    """
    draft = _stage(entry, request, CallRole.DRAFT)
    draft.decision, draft.extras = entry.decision, entry.extras
    draft.max_output_tokens, draft.running = entry.max_output_tokens, entry.running
    return draft


def adopt(entry: LedgerEntry, draft: LedgerEntry, chunks: Iterable[Chunk]) -> None:
    """Have the answer of a draft serve, as far as it has come.

    Parameters
    ----------
    chunks
        Of the answer, as the client gets them.
    """
    entry.served, entry.served_at = draft.served, draft.served_at
    entry.arrived, entry.response_model = draft.arrived, draft.response_model
    entry.whole_answer = draft.whole_answer
    # It may have been turned down before.
    served = entry.calls[entry.served_at]
    entry.calls[entry.served_at] = msgspec.structs.replace(served, role=draft.role, error=None)
    entry.time_to_first_token_s = entry.clock() - entry.started
    if draft.call_trace is not None:
        entry.traced(draft.call_trace)
    if entry.heard is not None:
        for chunk in chunks:
            entry.heard.hear(chunk)


def _stage(entry: LedgerEntry, request: RouteRequest, role: CallRole) -> LedgerEntry:
    return LedgerEntry(
        clock=entry.clock,
        request=request,
        policy_version=entry.policy_version,
        started=entry.started,
        role=role,
        rank=entry.rank,
        reserved_nusd=entry.reserved_nusd,
        calls=entry.calls,
        reasoning=entry.reasoning,
        trace=entry.trace,
        excerpt=excerpt_of(request) if entry.excerpt is not None and role in WATCHED else None,
    )
