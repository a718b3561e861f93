import random
import string

import pytest

from app.providers.base import ToldLimit
from app.providers.http.told_limits import told_limits

NOW_S = 1_748_235_603.0
"""2025-05-26T05:00:03Z"""


def told(**headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return told_limits(raw, now_s=NOW_S)


def requests(remaining="59", limit="60", reset="1s", **more):
    return told(
        **more,
        **{
            "X-RateLimit-Remaining-Requests": remaining,
            "X-RateLimit-Limit-Requests": limit,
            "X-RateLimit-Reset-Requests": reset,
        },
    )


def test_what_openai_tells_of_requests_and_tokens():
    found = told(
        date="Mon, 26 May 2025 05:00:03 GMT",
        content_type="application/json",
        x_ratelimit_limit_requests="5000",
        x_ratelimit_limit_tokens="160000",
        x_ratelimit_limit_tokens_usage_based="160000",
        x_ratelimit_remaining_requests="4999",
        x_ratelimit_remaining_tokens="159976",
        x_ratelimit_reset_requests="12ms",
        x_ratelimit_reset_tokens="6m0s",
    )
    assert found == (
        ToldLimit("requests", 4999.0, 5000.0, 0.012),
        ToldLimit("tokens", 159976.0, 160000.0, 360.0),
    )


def test_what_anthropic_tells_counts_from_the_date_of_its_answer():
    found = told(
        date="Mon, 26 May 2025 04:00:03 GMT",  # its clock is an hour behind ours
        anthropic_ratelimit_requests_limit="50",
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2025-05-26T04:00:33Z",
        anthropic_ratelimit_input_tokens_remaining="1000",
    )
    assert found == (
        ToldLimit("requests", 0.0, 50.0, 30.0),
        ToldLimit("input-tokens", 1000.0, None, None),
    )


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("7.66", 7.66),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("1d2h3m4s", 93_784.0),
        ("20ms", 0.02),
        ("0s", 0.0),
        ("2025-05-26T05:00:33+00:00", 30.0),
        ("2025-05-26T05:00:33", 30.0),
        ("2025-05-26T04:00:00Z", 0.0),
        (str(NOW_S + 9), 9.0),
        (str(int(NOW_S * 1000) + 9000), 9.0),
        ("400d", 31 * 86_400.0),
        ("-5", None),
        ("nan", None),
        ("soon", None),
        ("5 s", None),
        ("\u0665", None),
        ("", None),
        ("9999-99-99T00:00:00Z", None),
    ],
)
def test_when_a_limit_is_full_again(reset, seconds):
    (found,) = requests(reset=reset)
    assert found.reset_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "remaining", ["-1", "", "nan", "inf", "1e3", "many", "\u0665", "9" * 30, "1.2.3"]
)
def test_what_is_no_count_tells_nothing(remaining):
    assert requests(remaining=remaining) == ()


def test_nothing_of_nothing_and_nothing_for_ever_are_not_meant():
    assert requests(remaining="0", limit="0") == ()
    assert requests(remaining="0", limit="-1", reset="") == ()
    assert requests(remaining="3", limit="-1", reset="") == (
        ToldLimit("requests", 3.0, None, None),
    )


def test_periods_of_their_own_are_told_apart():
    found = told(
        x_ratelimit_remaining_requests_day="100",
        x_ratelimit_remaining_tokens_minute="2000",
    )
    assert [each.of for each in found] == ["requests-day", "tokens-minute"]


def test_whatever_stands_in_headers_is_read_without_harm():
    chance = random.Random(3)
    names = ["x-ratelimit-remaining-requests", "x-ratelimit-limit-requests"]
    names += ["x-ratelimit-reset-requests", "date", "x-other", "anthropic-ratelimit-tokens-reset"]
    alphabet = [*map(str, range(10)), *"smhdTZ:-+. ", *string.ascii_letters[:6], "\xe9", "\x00"]
    for _ in range(5_000):
        headers = [
            (name.encode(), "".join(chance.choices(alphabet, k=chance.randrange(24))).encode())
            for name in names
        ]
        for each in told_limits(headers, now_s=NOW_S):
            assert each.remaining >= 0
            assert each.reset_s is None or 0 <= each.reset_s <= 31 * 86_400.0
