"""What decisions say, without what time makes of it."""

from collections.abc import Mapping
from typing import Any


def untimed(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out predicted times: what is known of a place changes with every call, and without."""
    return {name: value for name, value in candidate.items() if not name.endswith("_ms")}
