"""Addresses that clients make of a base URL in other ways: without its `/v1`, with two, Azure's."""

from collections.abc import Collection
from typing import NamedTuple

_AZURE = "/openai"
_DEPLOYMENTS = "/openai/deployments/"
_MAX_MODEL_CHARS = 1_024


class Meant(NamedTuple):
    """The path that is meant, and the model that the address names, if it does."""

    path: str
    model: str | None = None


def meant_path(path: str, served: Collection[str]) -> Meant | None:
    """Return which path of ours an address stands for; None if it is none of these ways.

    Parameters
    ----------
    served
        Paths of ours; what lies below them is theirs.
    """
    if path.startswith(_DEPLOYMENTS):
        return _deployment(path.removeprefix(_DEPLOYMENTS), served)
    rest = path.removeprefix(_AZURE)
    while rest.startswith("/v1/"):
        rest = rest[3:]
    known = f"/v1{rest}"
    if known == path or not any(known == each or known.startswith(f"{each}/") for each in served):
        return None
    return Meant(known)


def _deployment(rest: str, served: Collection[str]) -> Meant | None:
    """Read `<model>/chat/completions`; names of models may have a slash."""
    for path in sorted(served, key=len, reverse=True):
        model = rest.removesuffix(path.removeprefix("/v1"))
        if model != rest and 0 < len(model) <= _MAX_MODEL_CHARS:
            return Meant(path, model)
    return None
