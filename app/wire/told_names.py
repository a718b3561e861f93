"""Names that a client made up, as a header can tell them."""

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_MAX_NAMES = 20


def told_names(names: Sequence[str]) -> bytes:
    """Return names as the value of a header; those that none can hold are only counted."""
    plain = [name for name in names if _PLAIN.fullmatch(name)][:_MAX_NAMES]
    n_others = len(names) - len(plain)
    if n_others:
        plain.append(f"and {n_others} more" if plain else f"{n_others} fields")
    return ", ".join(plain).encode()
