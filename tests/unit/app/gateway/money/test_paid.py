"""What was sent is paid: what is booked of a call, however it ends."""

import asyncio

import pytest
from msgspec import structs

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.gateway.bill import settled_tokens, settled_usage, told_cost_usd
from app.gateway.closing import closed
from app.gateway.ledger import LedgerEntry
from app.gateway.money.paid import HiddenReasoning
from app.providers.base import Chunk, Progress
from app.usage import ToldUsage, Usage
from app.wire.body import Body
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.models import Demand
from tests.support.policies import routed
from tests.support.providers import ScriptedProvider, deployment
from tests.support.transcripts import TASK, body

IN_USD, OUT_USD = 1e-6, 10e-6
PLACE = deployment("a", ScriptedProvider())


def entry(**changes):
    demand = Demand(input_tokens=100, input_tokens_upper=150, **changes)
    asked = structs.replace(routed(body(TASK)), demand=demand, policy=None)
    return LedgerEntry(
        clock=lambda: 0.0,
        request=asked,
        policy_version="v",
        started=0.0,
        decision=Decision(
            model_id="a", fallbacks=(), candidates=(), reason=Reason.KNOB, usd_per_quality=None
        ),
    )


def text(n_events=1, **told):
    return Chunk(data=b"x", content_events=n_events, content_chars=4 * n_events, **told)


def told(output, *, reasoning=0, cached=0):
    return ToldUsage(
        input_tokens=70_000,
        output_tokens=output,
        reasoning_tokens=reasoning,
        cached_input_tokens=cached,
    )


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        UpstreamTimeoutError("too slow"),
        UpstreamUnavailableError("reset"),
        UpstreamInvalidResponseError("garbage"),
        RuntimeError("ours"),
    ],
)
def test_a_call_that_an_upstream_may_have_read_costs_its_prompt(error):
    account = entry()
    account.failed(PLACE, 0.0, error, progress=Progress())
    outcome = closed(account, status=502, error="x")
    assert outcome.usage == Usage(input_tokens=100, output_tokens=0, estimated=True)
    assert outcome.cost_usd == told_cost_usd(account) == pytest.approx(100 * IN_USD)
    assert outcome.tokens == settled_tokens(account) == 100


@pytest.mark.parametrize(
    ("error", "progress"),
    [
        (UpstreamThrottledError("429", status=429), Progress()),
        (UpstreamUnavailableError("500", status=500), Progress()),
        (UpstreamTimeoutError("504", status=504), Progress()),
        (UpstreamUnavailableError("refused", sent=False), Progress()),
        (UpstreamUnsupportedError("no"), Progress()),
        (asyncio.CancelledError(), Progress(sent=False)),
        (UpstreamTimeoutError("no connection yet"), Progress(sent=False)),
    ],
)
def test_what_was_not_sent_or_refused_by_its_status_costs_nothing(error, progress):
    account = entry()
    account.failed(PLACE, 0.0, error, progress=progress)
    outcome = closed(account, status=502, error="x")
    assert (outcome.usage, outcome.cost_usd, outcome.tokens) == (None, 0.0, 0)


def test_the_attempts_before_a_fallback_are_paid_beside_it():
    account = entry()
    account.failed(PLACE, 0.0, UpstreamTimeoutError("late"), progress=Progress())
    account.serves(PLACE, 0.0, [text(usage=told(30), finish_reason="stop")])
    account.completed()
    outcome = closed(account, status=200, error=None)
    assert outcome.usage == Usage(input_tokens=70_000, output_tokens=30)
    assert outcome.serving.cost_usd == pytest.approx(70_000 * IN_USD + 30 * OUT_USD)
    assert outcome.cost_usd == pytest.approx(outcome.serving.cost_usd + 100 * IN_USD)
    assert outcome.tokens == 70_030 + 100


def test_what_came_of_a_whole_answer_that_was_cut_is_paid():
    account = entry()
    progress = Progress(heard_bytes=4_200)
    account.failed(PLACE, 0.0, UpstreamUnavailableError("cut"), progress=progress)
    usage = settled_usage(account)
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (100, 1_000, True)


def test_counts_that_came_with_a_cut_answer_are_the_truth():
    account = entry()
    progress = Progress(heard_bytes=4_200, usage=told(12))
    account.failed(PLACE, 0.0, UpstreamUnavailableError("cut"), progress=progress)
    assert settled_usage(account) == Usage(input_tokens=70_000, output_tokens=12)


@pytest.mark.parametrize("serving", [True, False])
def test_a_prompt_that_is_told_at_the_beginning_counts_when_the_stream_is_cut(serving):
    account = entry()
    opening = Chunk(data=b"", has_content=False, usage=told(1, cached=50_000))
    if serving:
        account.serves(PLACE, 0.0, [opening, text(9)])
        account.saw(text(4))
    else:
        account.failed(
            PLACE, 0.0, asyncio.CancelledError(), progress=Progress(), prelude=[opening, text(13)]
        )
    assert settled_usage(account) == estimated(input_tokens=70_000, output_tokens=13)


def estimated(**counts):
    return Usage(cached_input_tokens=50_000, estimated=True, **counts)


def test_an_estimate_never_exceeds_what_the_upstream_was_told_to_stop_at():
    account = entry(max_output_tokens=50, n_answers=2)
    account.serves(PLACE, 0.0, [text(5_000)])
    assert settled_usage(account).output_tokens == 100
    account.max_output_tokens["a"] = 20
    assert settled_usage(account).output_tokens == 40


# --- reasoning that nobody sees -----------------------------------------------------------------


def test_a_cut_answer_is_booked_with_the_reasoning_that_its_model_is_known_for():
    known = HiddenReasoning()
    for _ in range(3):
        first = entry()
        first.reasoning = known
        first.serves(PLACE, 0.0, [text(40)])
        first.saw(Chunk(data=b"", usage=told(1_040, reasoning=1_000), finish_reason="stop"))
        first.completed()
        assert closed(first, status=200, error=None).usage.output_tokens == 1_040
    cut = entry()
    cut.reasoning = known
    cut.serves(PLACE, 0.0, [text(7)])
    usage = settled_usage(cut)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.estimated) == (1_007, 1_000, True)


def test_reasoning_that_was_seen_is_not_booked_twice():
    known = HiddenReasoning()
    first = entry()
    first.reasoning = known
    first.serves(PLACE, 0.0, [text(1_040)])
    first.saw(Chunk(data=b"", usage=told(1_040, reasoning=1_000), finish_reason="stop"))
    first.completed()
    closed(first, status=200, error=None)
    cut = entry()
    cut.reasoning = known
    cut.serves(PLACE, 0.0, [text(7)])
    assert settled_usage(cut).output_tokens == 7


@pytest.mark.parametrize(
    ("fields", "output_tokens"),
    [
        ({}, 7),
        ({"reasoning_effort": b'"none"'}, 7),
        ({"reasoning_effort": b'"high"'}, 300),
        ({"thinking": b'{"type":"enabled"}'}, 300),
    ],
)
def test_before_a_model_has_told_anything_the_prediction_stands_for_it(fields, output_tokens):
    account = entry()
    account.request = structs.replace(account.request, body=Body(fields))
    estimate = CandidateEstimate(
        model_id="a",
        quality=0.5,
        quality_std=0.1,
        input_tokens=100,
        output_tokens=300.0,
        output_tokens_upper=900.0,
        cost_usd=None,
        cost_usd_upper=None,
    )
    account.decision = Decision(
        model_id="a", fallbacks=(), candidates=(estimate,), reason=Reason.KNOB, usd_per_quality=None
    )
    account.serves(PLACE, 0.0, [text(7)])
    assert settled_usage(account).output_tokens == output_tokens


def test_nothing_is_supposed_of_an_answer_that_had_not_begun():
    account = entry()
    account.request = structs.replace(account.request, body=Body({"reasoning_effort": b'"high"'}))
    account.failed(PLACE, 0.0, asyncio.CancelledError(), progress=Progress())
    assert settled_usage(account).output_tokens == 0
