"""Moments as people write them: dates, times and ages; in UTC unless they say otherwise."""

import re
from datetime import UTC, datetime

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_EPOCH = re.compile(r"\d{9,11}(?:\.\d{1,6})?")
_LOST_PLUS = re.compile(r"(T[0-9:.]+) (\d\d:?\d\d)")
"""An address turns a plus that nobody escaped into a blank."""


_LAST = 253_402_300_799.0
"""The end of the year 9999."""


def parse_moment(text: str, *, now: float) -> float:
    """Read a date, a time, seconds since the epoch, or how long ago; in seconds since the epoch.

    What is before 1970 is its beginning.

    Raises
    ------
    ValueError
        With what would help.
    """
    return min(max(_moment(text, now), 0.0), _LAST)


def _moment(text: str, now: float) -> float:
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - float(ago[1]) * _UNITS_S[ago[2]]
    if _EPOCH.fullmatch(text):
        return float(text)
    try:
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:40]!r} is no date such as 2026-11-22, no time and no age such as 7d"
        ) from None


def utc_text(moment: float) -> str:
    """Return a moment as ISO 8601 writes it, to the second."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def month_begin(now: float) -> float:
    """Return when the month of a moment began, in UTC."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
