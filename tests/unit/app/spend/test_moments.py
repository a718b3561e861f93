"""Dates, times and ages as people write them."""

import pytest

from app.spend.moments import month_begin, parse_moment, utc_text

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", NOW - 7 * 86_400),
        ("90m", NOW - 5_400),
        ("2w", NOW - 14 * 86_400),
        ("2026-11-22", 1_795_305_600.0),
        ("2026-11-22T01:00:00", 1_795_309_200.0),
        ("2026-11-22T01:00:00Z", 1_795_309_200.0),
        ("2026-11-22T02:00:00+01:00", 1_795_309_200.0),
        ("2026-11-22T02:00:00 01:00", 1_795_309_200.0),
        ("2026-11-21T20:00-05:00", 1_795_309_200.0),
        ("1795309200", 1_795_309_200.0),
        ("1795309200.5", 1_795_309_200.5),
        ("999999w", 0.0),
        ("0001-01-01T00:00+23:00", 0.0),
        ("9999-12-31T23:59:59-12:00", 253_402_300_799.0),
    ],
)
def test_a_moment_is_read(text, moment):
    assert parse_moment(text, now=NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "7y", "-7d", "2026-13-01"])
def test_what_is_no_moment_is_told_what_would_be(text):
    with pytest.raises(ValueError, match="such as 7d"):
        parse_moment(text, now=NOW)


def test_months_begin_in_utc():
    assert utc_text(month_begin(NOW)) == "2026-11-01T00:00:00Z"
