"""What holds for every request, however its upstream fails."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from loadtest.fault_proxy import FaultProxy, ProxyFault, even_shares
from loadtest.mixed_traffic import Ended, Kind, Mix, send_all
from tests.support.processes import gateway_process, write_config
from tests.support.requests import assert_openai_error
from tests.support.under_fire import (
    AT_ONCE,
    KINDS,
    MODELS,
    OPEN_FILES,
    SHORT_TIMEOUTS,
    run_under_fire,
)

pytestmark = pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux's /proc")

N_REQUESTS = 400


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
        assert len(fire.ledger[tag][0]["calls"]) == len(calls)


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
        if end.ended is Ended.REFUSED and end.status == 429 and end.ask.tag not in fire.ledger:
            continue  # its key had its share of requests: nothing of it was read or decided
        [line] = fire.ledger[end.ask.tag]
        if end.ended is Ended.ANSWER:
            assert (line["status"], line["error"]) == (200, None)
            assert line["model"] == end.model
        elif end.ended in {Ended.CUT, Ended.REFUSED}:
            assert line["error"] is not None
        if end.ended is Ended.REFUSED:
            assert line["status"] == end.status
            assert line["model"] is None


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
    assert not fire.sockets_left
    assert "gateway_requests_in_flight 0.0" in fire.metrics
    # What is pooled was used at the same time; every broken connection is gone.
    assert fire.upstream_connections <= AT_ONCE


PAGE_BYTES = 4096
N_ROUNDS = 5
MAX_GROWTH_BYTES = 24 * 1024 * 1024


async def test_memory_and_open_files_do_not_grow_from_round_to_round(stub, tmp_path):
    changes = {"upstreams.stub.timeouts": SHORT_TIMEOUTS, "breaker.cooldown_s": 0.2}
    async with FaultProxy(upstream=stub.origin, shares=even_shares(0.4), seed=3) as proxy:
        file = write_config(tmp_path / "gateway.yaml", proxy.origin, changes)
        async with gateway_process(file, env={}) as gateway:
            mix = Mix(seed=3, models=MODELS, weights=KINDS)
            proc = Path(f"/proc/{gateway.process.pid}")
            rss_bytes, open_files = [], []
            for round_ in range(N_ROUNDS):
                asks = [mix.draw(f"m{round_}-{i}") for i in range(100)]
                async with gateway.client(token=None) as client:
                    ends = await send_all(client, asks, at_once=20)
                assert [end.problem for end in ends if end.problem] == []
                rss_bytes.append(int((proc / "statm").read_text().split()[1]) * PAGE_BYTES)
                open_files.append(len(list((proc / "fd").iterdir())))
    # The first rounds fill caches and pools.
    assert rss_bytes[-1] - rss_bytes[1] < MAX_GROWTH_BYTES, rss_bytes
    assert open_files[-1] <= max(open_files[:2]) + 20, open_files


@pytest.fixture
async def proxied(fresh_gateway, stub):
    """Start a gateway that gives up soon, on a proxy; yield both and a client."""
    async with FaultProxy(upstream=stub.origin) as proxy:
        gateway = fresh_gateway(
            {
                "upstreams.stub.base_url": f"{proxy.origin}/v1",
                "upstreams.stub.retries": 0,
                "upstreams.stub.timeouts": SHORT_TIMEOUTS,
                "breaker.cooldown_s": 0.2,
            }
        )
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as client:
            yield proxy, client


def ask(client, **changes):
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is a lever?"}]}
    return client.post("/v1/chat/completions", json={**body, **changes})


async def served_again(client):
    async with asyncio.timeout(60):
        while (answer := await ask(client)).status_code != 200:
            await asyncio.sleep(0.02)
    return answer


async def test_an_upstream_that_refused_connections_is_used_again_when_it_listens(proxied):
    proxy, client = proxied
    assert (await ask(client)).status_code == 200
    await proxy.refuse()
    for answer in await asyncio.gather(*(ask(client, stream=i % 2 == 1) for i in range(20))):
        error = assert_openai_error(answer, status=502)
        assert error["code"] == "all_attempts_failed"
        assert {each["error"] for each in error["attempts"]} == {"upstream_unavailable"}
    await proxy.accept()
    await served_again(client)


@pytest.mark.parametrize("storm", [ProxyFault.THROTTLED, ProxyFault.THROTTLED_WITH_RETRY_AFTER])
async def test_a_storm_of_429_is_told_as_such_and_over_when_it_is_over(proxied, storm):
    proxy, client = proxied
    proxy.shares = {storm: 1.0}
    for answer in await asyncio.gather(*(ask(client) for _ in range(20))):
        error = assert_openai_error(answer, status=429)
        assert error["code"] == "upstream_rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) >= 1
        # Who is decided late leaves out the models that asked the earlier ones to be left alone.
        assert {each["status"] for each in error["attempts"]} == {429}
        assert 1 <= len(error["attempts"]) <= 3
    proxy.shares = {}
    # Health refuses nobody: what asked to be left alone is tried where there is nothing else.
    assert (await ask(client)).status_code == 200
