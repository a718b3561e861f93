"""What an upstream tells of its rate limits in the headers of an answer.

OpenAI, and who follows it (Azure, Groq, Cerebras, Together), tell how many requests and tokens are
left and in how long all of them will be there again: `x-ratelimit-remaining-requests: 59`,
`x-ratelimit-reset-requests: 1m0.5s`; Anthropic when: `anthropic-ratelimit-requests-reset` is a
date. Whether a limit is one of a minute or of a day they do not say alike; from what is missing and
when it will be back it can be told how fast it fills.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.providers.base import ToldLimit

Headers = Sequence[tuple[bytes, bytes]]

_FIRST_BYTES = frozenset((b"x", b"X", b"a", b"A"))
_NAME = re.compile(
    rb"x-ratelimit-(?P<what>limit|remaining|reset)-(?P<of>(?:requests|tokens)(?:-[a-z]+)?)"
    rb"|anthropic-ratelimit-(?P<of_a>requests|(?:input-|output-)?tokens)"
    rb"-(?P<what_a>limit|remaining|reset)"
)
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(d|h|ms|m|s))")
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_MOST = 1e15
_LONGEST_S = 31 * 86_400.0
_EPOCH_S = 1e9
"""Numbers above it are no durations in seconds, but times since 1970; above a thousand times it in
milliseconds."""
_MAX_CHARS = 40


def told_limits(headers: Headers, *, now_s: float) -> tuple[ToldLimit, ...]:
    """Return what headers tell of limits, each of which it tells how much is left.

    Parameters
    ----------
    headers
        Of the response. Its own date counts where it tells times: clocks differ.
    now_s
        The current time, in seconds since the epoch, where it has no date.
    """
    found: dict[str, dict[str, str]] = {}
    date: bytes | None = None
    for name, value in headers:
        if name[:1] not in _FIRST_BYTES:
            if name in (b"date", b"Date"):
                date = value
            continue
        is_one = _NAME.fullmatch(name.lower())
        if is_one is not None and len(value) <= _MAX_CHARS:
            of, what = is_one["of"] or is_one["of_a"], is_one["what"] or is_one["what_a"]
            found.setdefault(of.decode(), {})[what.decode()] = value.decode("latin-1").strip()
    if not found:
        return ()
    told = []
    for of, values in found.items():
        remaining, limit = _amount(values.get("remaining")), _amount(values.get("limit"))
        reset_s = _reset_s(values.get("reset"), date, now_s)
        # Nothing of nothing was answered all the same, and nothing for ever cannot be meant.
        says_when = limit is not None or reset_s is not None
        if remaining is not None and limit != 0 and (remaining or says_when):
            told.append(ToldLimit(of=of, remaining=remaining, limit=limit, reset_s=reset_s))
    return tuple(told)


def _amount(text: str | None) -> float | None:
    """Return a count; None for what is none, such as the -1 of those who limit nothing."""
    if text is None or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    value = float(text)
    return value if value <= _MOST else None


def _reset_s(text: str | None, date: bytes | None, now_s: float) -> float | None:
    """Return in how many seconds a limit is full again; None where that is not told."""
    if not text or not text.isascii():
        return None
    seconds = _amount(text)
    if seconds is None:
        seconds = _duration_s(text)
    if seconds is None or seconds > _EPOCH_S:
        at = _since_1970_s(text) if seconds is None else seconds
        if at is None:
            return None
        seconds = (at / 1e3 if at > 1e3 * _EPOCH_S else at) - _now_s(date, now_s)
    return min(max(seconds, 0.0), _LONGEST_S) if math.isfinite(seconds) else None


def _duration_s(text: str) -> float | None:
    parts = _DURATION.findall(text)
    if not parts or "".join(value + unit for value, unit in parts) != text:
        return None
    return sum(float(value) * _UNITS_S[unit] for value, unit in parts)


def _since_1970_s(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).timestamp()
    except (ValueError, OverflowError):
        return None


def _now_s(date: bytes | None, now_s: float) -> float:
    try:
        return now_s if date is None else parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, OverflowError, TypeError):
        return now_s
