"""The judge of the soak has to notice what is wrong."""

import json

import pytest

from app.stub.answers.compose import compose
from app.stub.tiers import TIERS
from loadtest.fault_proxy import Call, FaultProxy, ProxyFault, even_shares
from loadtest.mixed_traffic import Ask, BrokenEndError, End, Ended, Kind, _judge_stream
from loadtest.soak_judge import MIB, Judge, Sample

BODY = {
    "model": "sim-nano",
    "messages": [{"role": "user", "content": "t1: weigh"}],
    "max_tokens": 4,
    "stream": True,
    "user": "t1",
}
PIECES = compose("sim-nano", TIERS["sim-nano"], BODY).pieces
DONE = "data: [DONE]\n\n"
ERROR = json.dumps({"error": {"message": "m", "type": "t", "param": None, "code": "c"}})


def event(piece, finish=None):
    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


SAID = "".join(map(event, PIECES)) + event("", "length")


def stream_end():
    ask = Ask(tag="t1", kind=Kind.STREAM, body=BODY)
    return End(ask=ask, ended=Ended.BROKEN, status=200, model="sim-nano")


def test_a_stream_to_its_end_is_an_answer_and_one_with_an_error_is_cut():
    end = stream_end()
    _judge_stream(end, (": ping\n\n" + SAID + DONE).encode())
    assert (end.ended, end.text) == (Ended.ANSWER, "".join(PIECES))
    _judge_stream(end, (event(PIECES[0]) + f"data: {ERROR}\n\n").encode())
    assert (end.ended, end.text, end.code) == (Ended.CUT, PIECES[0], "c")


@pytest.mark.parametrize(
    "body",
    [
        "",
        SAID,
        SAID + "data: [DONE]",
        SAID + DONE + DONE,
        SAID + DONE + f"data: {ERROR}\n\n",
        SAID + f"data: {ERROR}\n\n" + DONE,
        SAID + SAID + DONE,
        "data: {half\n\n" + DONE,
        "id: 7\n\n" + SAID + DONE,
        event(PIECES[0]) + DONE,
        f"data: {json.dumps({'error': {'message': 'm'}})}\n\n",
    ],
)
def test_a_stream_with_no_end_two_ends_or_a_doubled_answer_is_broken(body):
    with pytest.raises(BrokenEndError):
        _judge_stream(stream_end(), body.encode())


def line(**changes):
    return {
        "request_id": "t1",
        "key_id": "k",
        "model": "sim-nano",
        "error": None,
        "usage_estimated": False,
        "input_tokens": 6,
        "output_tokens": 4,
        "cost_usd": 0.25,
        "overhead_ms": 1.0,
        **changes,
    }


def call(**changes):
    values = {
        "tag": "t1",
        "model": "sim-nano",
        "stream": True,
        "fault": None,
        "input_tokens": 6,
        "output_tokens": 4,
        "handed_over": True,
    }
    return Call(**(values | changes))


def standing(**changes):
    budget = {"spent_usd": 0.25, "reserved_usd": 0, **changes}
    return {"k": {"in_flight": 0, "budgets": [budget]}}


def judged(*, ledger=None, calls=None, standings=None, workers=(7,), mib_per_min=0.0, problem=None):
    judge = Judge(at_once=1)
    end = stream_end()
    end.ended, end.problem = Ended.ANSWER, problem
    judge.saw(end)
    for second in range(180):
        rss_bytes = int((100 + mib_per_min * second / 60) * MIB)
        judge.sampled(Sample(worker=7, at_s=second, rss_bytes=rss_bytes, open_files=9))
    judge.close(
        ledger=[line()] if ledger is None else ledger,
        calls=[call()] if calls is None else calls,
        standings=standing() if standings is None else standings,
        keys=["k"],
        alive=True,
        workers=workers,
    )
    return judge


def test_accounts_that_agree_hold():
    judge = judged()
    assert judge.holds
    assert judge.report(180.0)["holds"]
    assert "BROKEN" not in judge.text(180.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"problem": "an end without its end"},
        {"ledger": []},
        {"ledger": [line(), line()]},
        {"ledger": [line(error="upstream_unavailable")]},
        {"ledger": [line(output_tokens=5)]},
        {"calls": [call(), call()]},
        {"calls": [call(handed_over=False)]},
        {"standings": {}},
        {"standings": standing(spent_usd=0.26)},
        {"standings": standing(reserved_usd=0.01)},
        {"workers": (8,)},
        {"mib_per_min": 30.0},
    ],
)
def test_whatever_is_wrong_is_noticed(wrong):
    judge = judged(**wrong)
    assert not judge.holds
    assert "BROKEN" in judge.text(180.0)


def test_the_same_seed_hits_the_same_calls_in_the_shares_that_were_asked_for():
    def drawn(seed):
        proxy = FaultProxy(upstream="http://127.0.0.1:1", shares=even_shares(0.5), seed=seed)
        return [proxy.draw(f"t{i}") for i in range(4_000)]

    assert drawn(1) == drawn(1) != drawn(2)
    hit = [fault for fault in drawn(1) if fault is not None]
    assert 0.47 < len(hit) / 4_000 < 0.53
    assert set(hit) == set(ProxyFault)
