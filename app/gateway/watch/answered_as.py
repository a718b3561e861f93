"""Whether the model that answered is the one that was asked for, by the names that both have."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_SNAPSHOT = re.compile(
    r"[-@:](?:20\d\d-?[01]\d-?[0-3]\d|20\d\d-[01]\d|[01]\d-20\d\d|\d{4}|\d{3}|v\d+(?:[.:]\d+)?|"
    r"latest|stable|preview-[01]\d-[0-3]\d(?:-\d{4})?|[01]\d-[0-3]\d)$"
)
"""What providers append to a model's name for a state of it: dates, `-001`, `-v2:0`, `-latest`."""
_FLOATING = re.compile(r"[-@:](?:latest|stable)$")
_MAX_SHOWN = 80


def is_same_model(asked: str, answered: str, also: Iterable[str] = ()) -> bool:
    """Return whether one name stands for the other.

    A name without a date stands for all of its snapshots; a snapshot stands for itself alone.
    Letters' case, a vendor before a slash or dot, and a path before the name say nothing.

    Parameters
    ----------
    also
        Further names that are right, with `*` and `?`.
    """
    if asked == answered or any(fnmatchcase(answered, each) for each in also):
        return True
    wanted, found = _bare(asked), _bare(answered)
    if wanted == found:
        return True
    wanted = _FLOATING.sub("", wanted)
    return wanted in _without_snapshots(found)


def shown(name: str) -> str:
    """Return an upstream's own word as it may stand in a header or a log line."""
    return "".join(each if " " < each <= "~" and each not in ";," else "?" for each in name)[
        :_MAX_SHOWN
    ]


def _bare(name: str) -> str:
    name = name.strip().lower().rpartition("/")[2]
    vendor, dot, rest = name.partition(".")
    # Bedrock's `anthropic.claude-...`, `us.anthropic.claude-...`; not `gpt-4.1`, `llama3.1`.
    while dot and vendor.isalpha():
        name = rest
        vendor, dot, rest = name.partition(".")
    return name


def _without_snapshots(name: str) -> Iterable[str]:
    """Yield a name, and what is left as what tells its state is taken off piece by piece."""
    yield name
    while (bare := _SNAPSHOT.sub("", name)) != name:
        yield bare
        name = bare
