"""What holds for every request, however its upstream fails."""

from collections import Counter

import pytest

from loadtest.fault_proxy import ProxyFault, even_shares
from loadtest.mixed_traffic import Ended, Kind
from tests.support.under_fire import OPEN_FILES, run_under_fire

pytestmark = pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux's /proc")

N_REQUESTS = 600
AT_ONCE = 40


@pytest.fixture(scope="module")
def fire(stub_thread, artifacts, tmp_path_factory):
    stub_thread.reset()
    return run_under_fire(
        tmp_path_factory.mktemp("fire"),
        stub_thread.origin,
        artifacts,
        n_requests=N_REQUESTS,
        shares=even_shares(0.5),
        seed=20261122,
        at_once=AT_ONCE,
    )


def test_every_fault_was_met(fire):
    met = Counter(call.fault for call in fire.calls)
    assert set(met) == {None, *ProxyFault}
    assert {end.ask.kind for end in fire.ends} == set(Kind)
    assert all(fire.of(ended) for ended in Ended if ended is not Ended.BROKEN)


def test_every_request_gets_exactly_one_well_formed_end(fire):
    assert len(fire.ends) == N_REQUESTS
    assert [(end.ask.tag, end.problem) for end in fire.ends if end.problem] == []


def test_content_is_neither_lost_nor_doubled_nor_given_to_somebody_else(fire):
    # `send` compares every answer with what the model had to say to this very prompt.
    answers = fire.of(Ended.ANSWER)
    assert len(answers) > N_REQUESTS / 2
    assert all(end.text for end in answers)


def test_a_stream_that_was_cut_is_followed_by_no_other_answer(fire):
    cut = {end.ask.tag for end in fire.of(Ended.CUT)}
    assert cut
    for tag in cut:
        calls = [call for call in fire.calls if call.tag == tag]
        assert not any(call.handed_over for call in calls)
        # The call that was cut is the last one: nothing is tried once content has gone out.
        assert fire.ledger[tag][0]["error"] is not None
        assert len(fire.ledger[tag][0]["failed_attempts"]) == len(calls) - 1


def test_most_faults_before_the_first_content_are_hidden_by_another_try(fire):
    def hit(tag):
        return any(call.fault is not None for call in fire.calls if call.tag == tag)

    routed = [end for end in fire.ends if end.ask.body["model"].startswith("auto")]
    hidden = [end for end in routed if end.ended is Ended.ANSWER and hit(end.ask.tag)]
    refused = [end for end in routed if end.ended is Ended.REFUSED and end.status >= 500]
    assert len(hidden) > 5 * len(refused)


def test_every_request_that_was_decided_is_in_the_ledger_once(fire):
    assert all(len(lines) == 1 for lines in fire.ledger.values())
    for end in fire.ends:
        if end.ask.kind is Kind.INVALID:
            assert end.ask.tag not in fire.ledger
            assert end.status == 400
            continue
        [line] = fire.ledger[end.ask.tag]
        if end.ended is Ended.ANSWER:
            assert (line["status"], line["error"]) == (200, None)
            assert line["model"] == end.model
        elif end.ended in {Ended.CUT, Ended.REFUSED}:
            assert line["error"] is not None
        if end.ended is Ended.REFUSED:
            assert line["status"] == end.status
            assert line["output_tokens"] is None


def test_what_clients_are_told_of_usage_is_what_the_ledger_holds(fire):
    told = [end for end in fire.of(Ended.ANSWER) if end.usage]
    assert len(told) > 100
    for end in told:
        [line] = fire.ledger[end.ask.tag]
        usage = (end.usage["prompt_tokens"], end.usage["completion_tokens"])
        assert usage == (line["input_tokens"], line["output_tokens"])


def test_nothing_stays_claimed_and_every_key_paid_what_its_requests_cost(fire):
    for key_id, scope in fire.standings.items():
        costs = [
            line["cost_usd"] or 0.0
            for lines in fire.ledger.values()
            for line in lines
            if line["key_id"] == key_id
        ]
        assert scope["in_flight"] == 0
        [budget] = scope["budgets"]
        assert budget["reserved_usd"] == 0
        assert budget["spent_usd"] == pytest.approx(sum(costs), abs=1e-9 * len(costs))


def test_no_connection_no_request_and_no_socket_is_left(fire):
    before, after = fire.sockets
    assert after == before
    assert "gateway_requests_in_flight 0.0" in fire.metrics
    # What is pooled was used at the same time; every broken connection is gone.
    assert fire.upstream_connections <= AT_ONCE
