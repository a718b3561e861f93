"""What is predicted of calls at one place, and whether nine of ten stay below it."""

import math
import random

import pytest

from app.gateway.latency import (
    USUAL_PACE,
    Margin,
    Pace,
    Quantile,
    Speed,
    Speeds,
    pace_of,
    size_of,
)

PACE = Pace(ttft_s=0.5, tokens_per_s=60.0)


def forecast(speed, *, now=0.0, input_tokens=500.0, output_tokens=200.0, **more):
    return speed.forecast(input_tokens=input_tokens, output_tokens=output_tokens, now=now, **more)


def teach(speed, n, *, ttft_s, token_s, now=0.0, streams=True, **size):
    """Have calls take exactly so long."""
    for _ in range(n):
        call = forecast(speed, now=now, streams=streams, **size)
        took_s = ttft_s + 200 * token_s
        speed.first_token(call, ttft_s if streams else took_s, now=now)
        speed.whole(call, took_s, output_tokens=200, now=now)


def test_before_any_call_the_pace_that_is_written_down_counts():
    latency = forecast(Speed(PACE)).latency
    assert latency.ttft_s == pytest.approx(0.5)
    assert latency.total_s == pytest.approx(0.5 + 200 / 60)
    assert latency.ttft_s < latency.ttft_s_upper < latency.total_s_upper
    assert latency.total_s < latency.total_s_upper


def test_what_a_whole_answer_usually_takes_stands_in_for_what_is_not_said():
    assert pace_of(ttft_s=None, tokens_per_s=None) == USUAL_PACE
    usual = Speed(pace_of(ttft_s=None, tokens_per_s=None, latency_s=20.0))
    assert forecast(usual, output_tokens=250.0).latency.total_s == pytest.approx(20.0)
    told = pace_of(ttft_s=0.2, tokens_per_s=None, latency_s=20.0)
    assert told.ttft_s == 0.2
    assert told.tokens_per_s == pytest.approx(50 * 5.7 / 20)


def test_a_longer_answer_and_a_cautious_length_take_longer():
    speed = Speed(PACE)
    totals = [forecast(speed, output_tokens=n).latency.total_s for n in (10.0, 100.0, 1000.0)]
    assert totals == sorted(totals)
    narrow = forecast(speed, output_tokens_upper=210.0).latency.total_s_upper
    wide = forecast(speed, output_tokens_upper=900.0).latency.total_s_upper
    assert narrow < wide
    assert forecast(speed, output_tokens=None).latency.total_s == pytest.approx(0.5 + 250 / 60)


def test_a_call_that_does_not_stream_has_its_first_token_with_its_last():
    latency = forecast(Speed(PACE), streams=False).latency
    assert (latency.ttft_s, latency.ttft_s_upper) == (latency.total_s, latency.total_s_upper)


@pytest.mark.parametrize("streams", [True, False])
def test_calls_teach_how_fast_a_place_is(streams):
    speed = Speed(PACE)
    teach(speed, 60, ttft_s=0.1, token_s=0.002, streams=streams)
    latency = forecast(speed, streams=streams).latency
    assert latency.total_s == pytest.approx(0.1 + 200 * 0.002, rel=0.1)
    assert latency.total_s_upper < 0.75


def test_long_prompts_are_told_from_short_ones():
    speed = Speed(PACE)
    for _ in range(40):
        teach(speed, 1, ttft_s=0.1, token_s=0.01, input_tokens=100.0)
        teach(speed, 1, ttft_s=2.0, token_s=0.01, input_tokens=20_000.0)
    short, long = (forecast(speed, input_tokens=n).latency.ttft_s for n in (100.0, 20_000.0))
    assert short == pytest.approx(0.1, rel=0.25)
    assert long == pytest.approx(2.0, rel=0.25)
    unseen = forecast(speed, input_tokens=3_000.0).latency.ttft_s
    assert short < unseen < long


def test_prompts_are_told_apart_by_powers_of_four():
    edges = (0, 255, 256, 1_023, 1_024, 4_095, 4_096, 16_383, 16_384, 10**6)
    assert [size_of(n) for n in edges] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_place_that_was_slow_and_has_no_calls_is_taken_to_be_as_usual_again():
    speed = Speed(PACE)
    teach(speed, 300, ttft_s=0.1, token_s=0.001, now=100.0)
    teach(speed, 60, ttft_s=5.0, token_s=0.05, now=100.0)
    slow = forecast(speed, now=100.0).latency.ttft_s
    later = [forecast(speed, now=100.0 + wait_s).latency.ttft_s for wait_s in (60, 240, 1_200)]
    assert slow > 3.0
    assert slow > later[0] > later[1] > later[2]
    assert later[2] < 0.3


def test_a_place_that_is_rarely_asked_keeps_what_is_known_of_it():
    speed = Speed(PACE)
    teach(speed, 60, ttft_s=0.05, token_s=0.001, now=0.0)
    assert forecast(speed, now=1e6).latency.ttft_s == pytest.approx(0.05, rel=0.1)


def test_answers_of_unknown_length_teach_the_speed_and_no_margin():
    speed = Speed(PACE)
    for _ in range(50):
        call = forecast(speed, output_tokens=None)
        speed.first_token(call, 0.5, now=0.0)
        speed.whole(call, 30.0, output_tokens=30.0 * 60, now=0.0)
    latency = forecast(speed, output_tokens=60.0, output_tokens_upper=60.0).latency
    assert latency.total_s == pytest.approx(1.5, rel=0.1)
    assert latency.total_s_upper == pytest.approx(1.5 * 1.25, rel=0.1)


def test_a_clock_that_goes_back_forgets_nothing_and_breaks_nothing():
    speed = Speed(PACE)
    teach(speed, 30, ttft_s=0.1, token_s=0.001, now=1_000.0)
    known = forecast(speed, now=1_000.0).latency
    assert forecast(speed, now=0.0).latency == known
    teach(speed, 1, ttft_s=0.0, token_s=0.0, now=5.0)
    latency = forecast(speed, now=5.0).latency
    assert all(math.isfinite(each) and each > 0 for each in (latency.ttft_s, latency.total_s))


def test_what_is_known_of_a_place_outlives_a_reload_unless_its_pace_is_written_anew():
    speeds, place = Speeds(), ("large", "stub", "sim-large")
    first = speeds.of(place, PACE)
    assert speeds.of(place, PACE) is first
    assert speeds.of(("small", *place[1:]), PACE) is not first
    assert speeds.of(place, Pace(ttft_s=9.0, tokens_per_s=1.0)) is not first


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_a_quantile_is_found_whatever_the_scale(p):
    for scale in (1e-3, 1.0, 30.0):
        rng = random.Random(7)
        quantile = Quantile(p, 0.0)
        below = 0
        for _ in range(4_000):
            x = rng.gauss(5.0, scale)
            below += x <= quantile.value
            quantile.learn(x)
        assert below / 4_000 == pytest.approx(p, abs=0.02)


DRIFTS = {
    "steady": lambda _share: 1.0,
    "slower and slower": lambda share: 1.0 + 4.0 * share,
    "tenfold at once": lambda share: 1.0 if share < 0.5 else 10.0,
    "slow for a while": lambda share: 5.0 if 0.3 < share < 0.6 else 1.0,
    "up and down": lambda share: math.exp(0.7 * math.sin(20 * share)),
}


@pytest.mark.parametrize("n_at_once", [1, 20])
@pytest.mark.parametrize("drift", DRIFTS)
def test_nine_of_ten_stay_below_through_every_drift(drift, n_at_once):
    """Of what was told when a call began, while others ran beside it."""
    rng, speed = random.Random(3), Speed(PACE)
    n, now, running = 3_000, 0.0, []
    first, whole, middle = [], [], []
    for number in range(n):
        now += 0.2
        input_tokens = rng.choice([100, 600, 3_000, 9_000])
        expected = rng.uniform(20, 800)
        tokens = expected * math.exp(rng.gauss(-0.1, 0.4))
        call = forecast(
            speed,
            now=now,
            input_tokens=input_tokens,
            output_tokens=expected,
            output_tokens_upper=1.7 * expected,
        )
        slower = DRIFTS[drift](number / n)
        ttft_s = slower * (0.1 + 1e-4 * input_tokens) * math.exp(rng.gauss(0, 0.3))
        total_s = ttft_s + slower * tokens * 0.012 * math.exp(rng.gauss(0, 0.1))
        first.append(ttft_s <= call.latency.ttft_s_upper)
        whole.append(total_s <= call.latency.total_s_upper)
        middle.append(total_s <= call.latency.total_s)
        running.append((call, ttft_s, total_s, tokens))
        if len(running) >= n_at_once:
            call, ttft_s, total_s, tokens = running.pop(0)
            speed.first_token(call, ttft_s, now=now)
            speed.whole(call, total_s, output_tokens=tokens, now=now)
    assert 0.87 <= sum(first) / n <= 0.93
    assert 0.87 <= sum(whole) / n <= 0.93
    assert 0.46 <= sum(middle) / n <= 0.54


def test_what_comes_before_a_call_is_told_and_teaches_nothing():
    speed = Speed(PACE)
    plain = forecast(speed).latency
    waiting = forecast(speed, ahead_s=20.0).latency
    assert waiting.ttft_s == pytest.approx(20.0 + plain.ttft_s)
    assert waiting.total_s_upper == pytest.approx(20.0 + plain.total_s_upper)
    for _ in range(20):
        call = forecast(speed, ahead_s=20.0)
        speed.first_token(call, 20.1, now=0.0)
        speed.whole(call, 20.5, output_tokens=200, now=0.0)
    assert forecast(speed).latency.ttft_s == pytest.approx(0.1, rel=0.1)
    assert forecast(speed).latency.total_s == pytest.approx(0.5, rel=0.1)


def test_one_call_with_a_huge_prompt_is_no_news_of_others():
    speed = Speed(PACE)
    before = forecast(speed).latency
    call = forecast(speed, input_tokens=60_000.0)
    speed.first_token(call, 40.0, now=0.0)
    speed.whole(call, 45.0, output_tokens=200, now=0.0)
    after = forecast(speed).latency
    assert after.ttft_s < 3 * before.ttft_s
    assert after.ttft_s_upper < 5 * before.ttft_s_upper
    assert forecast(speed, input_tokens=60_000.0).latency.ttft_s > 2 * after.ttft_s


def test_what_running_calls_were_promised_too_little_later_ones_make_good_for():
    margin = Margin.at(0.0)
    for _ in range(200):
        margin.learn(random.Random(1).gauss(-1.0, 0.1), kept=True)
    assert margin.owed == pytest.approx(0.0, abs=1.0)
    for _ in range(10):  # they ran when it got slower, and newer promises are right already
        margin.learn(-5.0, kept=False)
    assert margin.owed > 5
    before = margin.owed
    margin.learn(-5.0, kept=True)
    assert margin.owed == pytest.approx(before - 0.05)
    assert margin.quantile.p == pytest.approx(0.95)
    for _ in range(10_000):
        margin.learn(-5.0, kept=False)
    assert margin.owed <= 20


@pytest.mark.parametrize("streams", [True, False], ids=["streams", "whole"])
def test_of_calls_that_are_given_up_it_is_known_that_they_took_longer(streams):
    """Else nine of ten of those that are waited for are quick, and of all far fewer."""
    rng, heeded, blind = random.Random(0), Speed(PACE), Speed(PACE)
    late = dict.fromkeys((heeded, blind), 0)
    for n in range(4_000):
        took_s = rng.lognormvariate(0.0, 0.5)
        for speed in late:
            call = forecast(speed, streams=streams)
            limit_s = call.latency.ttft_s_upper
            if n >= 1_000:
                late[speed] += took_s > limit_s
            if took_s <= limit_s:
                speed.first_token(call, took_s, now=0.0)
                speed.whole(call, took_s + streams, output_tokens=200, now=0.0)
            elif speed is heeded:
                speed.outlasted(call, 1.1 * limit_s, now=0.0)
    assert late[heeded] / 3_000 == pytest.approx(0.1, abs=0.03)
    assert late[blind] / 3_000 > 0.2


def test_of_a_call_that_is_given_up_soon_nothing_is_known():
    speed = Speed(PACE)
    before = forecast(speed).latency
    for _ in range(50):
        call = forecast(speed)
        speed.outlasted(call, 0.9 * call.latency.ttft_s_upper, now=0.0)
    assert forecast(speed).latency == before
