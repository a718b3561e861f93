"""The instruments of `make bench` measure what they say they do, without a gateway in between."""

import json
import math
import xml.etree.ElementTree as ET

import msgspec
import pytest

from loadtest import report
from loadtest.capacity import Capacity, redis_wait_ms
from loadtest.load import Plan, Report
from loadtest.plot import draw
from loadtest.processes import Cores, Helper
from loadtest.scenarios import SCENARIOS, find, write


@pytest.fixture(scope="module")
def cores():
    return Cores.of_this_machine(together=True)


@pytest.fixture(scope="module")
def upstream_port(cores):
    with Helper("loadtest.upstream", cores=cores.around) as upstream:
        yield upstream.hear()["port"]


def sent(cores, plan):
    with Helper("loadtest.load", cores=cores.around) as helper:
        helper.tell(msgspec.json.encode(plan).decode())
        assert set(helper.hear()["warm_up"]) <= {"200"}
        helper.tell("go")
        return msgspec.convert(helper.hear(), Report)


def requests(tmp_path, *bodies):
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(json.dumps([body]) for body in bodies))
    return str(path)


def chat(text, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def test_a_closed_loop_counts_every_answer(cores, upstream_port, tmp_path):
    plan = Plan(
        port=upstream_port, requests=requests(tmp_path, chat("hello")), connections=4, seconds=1.0
    )
    seen = sent(cores, plan)
    assert seen.statuses == {"200": seen.requests}
    assert seen.requests >= 4
    assert seen.problems == {}
    assert 0 < seen.latency_ms.p50 <= seen.latency_ms.p99 <= seen.latency_ms.max


def test_an_open_loop_sends_at_its_rate_whatever_the_answers_take(cores, upstream_port, tmp_path):
    slow = chat("[[stream 2 300]]", stream=True)
    plan = Plan(
        port=upstream_port,
        requests=requests(tmp_path, slow),
        mode="open",
        rate=50,
        seconds=0.4,
        warm_up=0,
    )
    seen = sent(cores, plan)
    assert seen.requests == 20
    assert seen.latency_ms.p50 >= 300


@pytest.mark.parametrize(("mark", "chunks"), [("[[stream 30 0]]", 30), ("[[stream 5 10]]", 5)])
def test_the_chunks_of_a_stream_tell_how_long_they_took(
    cores, upstream_port, tmp_path, mark, chunks
):
    body = chat(mark, stream=True)
    plan = Plan(port=upstream_port, requests=requests(tmp_path, body), seconds=1.0, warm_up=1)
    seen = sent(cores, plan)
    assert seen.chunks == chunks * seen.requests
    assert 0 < seen.transit_ms.p50 < seen.latency_ms.max
    assert seen.first_chunk_ms.p50 <= seen.latency_ms.p50


def test_held_streams_are_open_until_they_are_let_go(cores, upstream_port, tmp_path):
    body = chat("[[stream 2 60000]]", stream=True)
    path = requests(tmp_path, body)
    plan = Plan(port=upstream_port, requests=path, mode="hold", connections=20)
    seen = sent(cores, plan)
    assert seen.chunks == 20
    assert seen.requests == 0


def test_what_is_no_answer_is_a_problem_and_not_a_fast_request(cores, upstream_port, tmp_path):
    plan = Plan(
        port=upstream_port,
        requests=requests(tmp_path, chat("hi")),
        headers={"transfer-encoding": "nonsense, chunked"},
        seconds=0.1,
        warm_up=0,
    )
    seen = sent(cores, plan)
    assert seen.requests == 0
    assert sum(seen.problems.values()) > 0


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_a_scenario_is_the_same_every_time(scenario, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (write(scenario, "m", tmp_path / each).read_bytes() for each in "ab")
    assert first == second
    bodies = msgspec.json.decode(first.splitlines()[0])
    assert {body["model"] for body in bodies} == {"m"}


def test_prompts_have_the_lengths_they_are_named_after(tmp_path):
    for name, n in (("pinned, 1 connection", 64), ("long prompt, pinned", 2_000)):
        (body,) = msgspec.json.decode(write(find(name), "m", tmp_path).read_bytes().splitlines()[0])
        assert len(body["messages"][0]["content"].split()) == n


def test_the_committed_result_gives_the_page_and_the_picture():
    overhead = msgspec.json.decode(report.OVERHEAD.read_bytes())
    ET.fromstring(draw(overhead["scenarios"]))  # noqa: S314  (our own)
    page = report.PAGE.read_text()
    assert overhead["machine"]["commit"] in page
    lines = report.against(overhead, overhead).splitlines()[2:]
    assert lines
    assert all(line.split()[-3:] == ["1.00", "1.00", "1.00"] for line in lines)


@pytest.mark.parametrize("busy", [0.2, 0.5, 0.8])
def test_the_queue_at_redis_is_the_one_of_the_textbook(busy):
    service_us = 100.0
    rate = busy * 1e6 / service_us
    p50, p99 = redis_wait_ms(rate, service_us)
    mean_ms = (service_us / 2) / (1 - busy) / 1e3  # M/M/1: the time there is exponential
    assert p50 == pytest.approx(mean_ms * math.log(2), rel=0.1)
    assert p99 == pytest.approx(mean_ms * math.log(100), rel=0.15)


def test_the_capacity_model_goes_through_what_was_measured():
    cpu_us = {
        "pinned, 1 connection": 464.0,
        "long prompt, pinned": 2400.0,
        "routed, 1 connection": 1128.0,
        "long prompt, routed": 5000.0,
        "stream paced, pinned": 4464.0,
    }
    scenarios = {name: {"steelyard full": {"cpu_us": cost}} for name, cost in cpu_us.items()}
    model = Capacity.fit({"scenarios": scenarios})
    assert model.cpu_us(tokens=64, routed=False) == pytest.approx(464)
    assert model.cpu_us(tokens=2_000, routed=False) == pytest.approx(2400)
    assert model.cpu_us(tokens=64) == pytest.approx(1128)
    assert model.cpu_us(tokens=2_000) == pytest.approx(5000)
    assert model.cpu_us(tokens=64, chunks=100, routed=False) == pytest.approx(4464)
    assert model.per_core(tokens=64) == pytest.approx(0.6 * 1e6 / 1128)
