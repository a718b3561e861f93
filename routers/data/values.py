"""Values of outcome files: what counts as a quality, and what as nothing."""

import math
from collections.abc import Mapping

from routers.data.lines import number_of
from routers.errors import DataError
from routers.files import shown_value

TRUTHS: Mapping[str, float] = {
    **dict.fromkeys(("true", "yes", "y", "pass", "passed", "correct", "right"), 1.0),
    **dict.fromkeys(("false", "no", "n", "fail", "failed", "incorrect", "wrong"), 0.0),
}
"""Words for right and wrong."""

MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "-"})
"""What stands in tables of text where nothing is known."""

_PERCENT = 100.0


def quality_number(where: str, name: str, value: object) -> float:
    """Return a quality from 0 to 1; NaN where none is given.

    Right and wrong may be told by true and false, or by words such as yes and no.

    Raises
    ------
    DataError
        If it is something else; the message says what to do with other scales.
    """
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value.strip().casefold() in TRUTHS:
        return TRUTHS[value.strip().casefold()]
    return plain_number(where, name, value, high=1.0)


def plain_number(
    where: str, name: str, value: object, *, low: float = 0.0, high: float = math.inf
) -> float:
    """Return a number that a file may give; NaN where it does not.

    Raises
    ------
    DataError
        If it is none from `low` to `high`.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {name!r} must be a number, got {shown_value(value)}")
    found = number_of(value)
    if found is None or not low <= found <= high or math.isinf(found):
        raise DataError(
            f"{where}: {name!r} is {shown_value(value)}; it must be {bounds_text(low, high)}"
            + (scale_hint(found) if high == 1 else "")
        )
    return found


def bounds_text(low: float, high: float) -> str:
    """Say from where to where a number has to lie."""
    if math.isinf(low):
        return f"finite and at most {high:g}"
    return "finite and not negative" if math.isinf(high) else f"between {low:g} and {high:g}"


def scale_hint(value: float | None) -> str:
    """Return what to do with a quality of another scale, as the end of a sentence."""
    if value is None or not 1 < value <= _PERCENT:
        return ""
    return (
        f" (on a scale up to {_PERCENT:g}, or another: steelyard data convert --quality-scale "
        f"{_PERCENT:g} divides by it)"
    )
