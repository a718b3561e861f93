"""What the ledger says was used is what the upstream billed, faults and hedges or not."""

from itertools import accumulate

import msgspec
import pytest

from app.stub.answers.compose import compose
from app.stub.tiers import TIERS
from loadtest.fault_proxy import ProxyFault, even_shares
from loadtest.mixed_traffic import Ended, Kind
from tests.support.under_fire import OPEN_FILES, run_under_fire

pytestmark = pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux's /proc")

N_REQUESTS = 600
POLICIES = ("default", "economy", "quality")


@pytest.fixture(scope="module")
def fire(stub_thread, artifacts, tmp_path_factory):
    """Send 600 requests; a third of the calls fails, and slow ones are hedged."""
    stub_thread.reset()
    return run_under_fire(
        tmp_path_factory.mktemp("accounts"),
        stub_thread.origin,
        artifacts,
        n_requests=N_REQUESTS,
        shares={**even_shares(0.33), ProxyFault.LATENCY: 0.1},
        seed=7,
        changes={f"policies.{name}.hedge_after_s": 0.04 for name in POLICIES},
    )


def lines_of(fire):
    return [line for lines in fire.ledger.values() for line in lines]


def exact(fire):
    """Return the completed answers whose usage the upstream told."""
    return [
        line
        for line in lines_of(fire)
        if line["error"] is None and line["usage_estimated"] is False
    ]


def tokens(records):
    return (
        sum(record["input_tokens"] for record in records),
        sum(record["output_tokens"] for record in records),
    )


def billed(fire, line):
    """Return the upstream's bill for the call that served a request."""
    calls = [
        {"input_tokens": call.input_tokens, "output_tokens": call.output_tokens}
        for call in fire.calls
        if call.tag == line["request_id"] and call.model == line["model"] and call.handed_over
    ]
    # One that was given up may have come to its end all the same, with the same answer.
    assert 1 <= len(calls) <= 1 + given_up(line).count(line["model"])
    return calls[-1]


def given_up(line):
    """Return the models of the calls that lost a race or took too long."""
    return [
        call.model_id for call in line["calls"] if call.error in {"hedge_lost", "upstream_timeout"}
    ]


def metric_sum(fire, begins, *, has=""):
    return sum(
        float(line.rpartition(" ")[2])
        for line in fire.metrics.splitlines()
        if line.startswith(begins) and has in line
    )


def test_the_sum_over_completed_answers_is_the_upstreams_to_the_token(fire):
    answers = exact(fire)
    assert len(answers) > N_REQUESTS / 2
    bills = [billed(fire, line) for line in answers]
    assert tokens(answers) == tokens(bills)
    # Not only in sum: nothing is booked on another request's account.
    for line, bill in zip(answers, bills, strict=True):
        assert tokens([line]) == tokens([bill])


def test_every_answer_that_a_client_completed_is_accounted_for(fire):
    completed = {end.ask.tag for end in fire.of(Ended.ANSWER)}
    accounted = {line["request_id"] for line in lines_of(fire) if line["error"] is None}
    assert completed <= accounted
    estimated = [
        line
        for line in lines_of(fire)
        if line["request_id"] in completed and line["usage_estimated"]
    ]
    # Only where the upstream told no usage are the tokens ours.
    without_usage = {call.tag for call in fire.calls if call.fault is ProxyFault.NO_DONE}
    assert {line["request_id"] for line in estimated} <= without_usage
    assert estimated


def test_an_upstreams_bill_is_booked_unless_the_call_lost_a_race_or_was_given_up(fire):
    booked = {(line["request_id"], line["model"]) for line in exact(fire)}
    left = {end.ask.tag for end in fire.of(Ended.LEFT)}
    unbooked = {
        (call.tag, call.model)
        for call in fire.calls
        if call.handed_over and call.tag not in left and (call.tag, call.model) not in booked
    }
    assert unbooked <= {
        (line["request_id"], model) for line in lines_of(fire) for model in given_up(line)
    }


def test_a_cut_stream_is_accounted_for_by_what_arrived_and_says_estimated(fire):
    cut = fire.of(Ended.CUT)
    assert len(cut) > 10
    # A stream that misses nothing but its end marker has told its usage.
    told = {call.tag for call in fire.calls if call.fault is ProxyFault.NO_DONE}
    for end in cut:
        [line] = fire.ledger[end.ask.tag]
        assert line["usage_estimated"] or end.ask.tag in told
        pieces = compose(end.model, TIERS[end.model], end.ask.body).pieces
        lengths = list(accumulate(map(len, pieces), initial=0))
        if end.ask.kind is not Kind.TOOLS:
            assert line["output_tokens"] == lengths.index(len(end.text))
        assert line["cost_usd"] > 0


def test_a_hedge_that_lost_is_an_estimate_on_the_losers_account(fire):
    calls = [call for line in lines_of(fire) for call in line["calls"]]
    lost = [call for call in calls if call.error == "hedge_lost" and call.cost_usd]
    assert lost
    assert any(call.usage.estimated for call in lost)
    cost_usd = sum(line["cost_usd"] for line in lines_of(fire) if line["cost_usd"])
    assert metric_sum(fire, "gateway_cost_usd_total") == pytest.approx(cost_usd)


def test_metrics_and_ledger_say_the_same(fire):
    usages = [call.usage for line in lines_of(fire) for call in line["calls"]]
    told = [msgspec.structs.asdict(usage) for usage in usages if usage and not usage.estimated]
    assert metric_sum(fire, "gateway_tokens_total", has='estimated="false"') == sum(tokens(told))
    # Those count requests that were never decided too.
    assert metric_sum(fire, "gateway_requests_total") == N_REQUESTS


def test_budgets_hold_what_the_ledger_says(fire):
    for key_id, scope in fire.standings.items():
        costs = [line["cost_usd"] or 0 for line in lines_of(fire) if line["key_id"] == key_id]
        [budget] = scope["budgets"]
        assert budget["spent_usd"] == pytest.approx(sum(costs), abs=1e-9 * len(costs))
        assert budget["reserved_usd"] == 0
