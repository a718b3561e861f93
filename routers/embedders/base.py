"""The embedder seam: text in, unit vectors out."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from routers.errors import RoutingConfigError
from routers.registry import Registry
from routers.types import FloatMatrix


class Embedder(Protocol):
    """Turn texts into unit vectors, the same ones for the same text everywhere.

    Attributes
    ----------
    embedder_id
        Fingerprint of everything that shapes the vectors (kind, weights digest, token limit,
        version). An artifact trained with one id refuses to be served with another.
    dimensions
        Width of the vectors.
    inline_chars
        Up to how many characters of text one `encode` takes well under a millisecond, so that
        a server may call it on its event loop; 0 when never.
    """

    embedder_id: str
    dimensions: int
    inline_chars: int

    @classmethod
    def outside(cls, options: Mapping[str, Any]) -> str | None:
        """Return the folder or model outside of this installation that the options name, if any.

        An artifact may name none unless whoever loads it trusts exactly that one.
        """
        ...

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 (len(texts), dimensions), rows of unit norm (zero for empty text)."""
        ...


@runtime_checkable
class Tokenises(Protocol):
    """An embedder whose tokens can be had by themselves."""

    def tokenise(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        """Return the ids of the tokens that `encode` reads of each text."""
        ...


EMBEDDERS: Registry[Embedder] = Registry(
    "routers.embedders", noun="embedder", group="steelyard.embedders"
)


def make_embedder(kind: str, options: Mapping[str, Any] | None = None) -> Embedder:
    """Build the embedder of `kind` from options that came out of a file.

    Raises
    ------
    RoutingConfigError
        If the kind is unknown, has no such option, or the option's value is of the wrong type
        or out of range; the message names the option.
    """
    cls = EMBEDDERS.get(kind)
    hints = get_type_hints(cls.__init__, include_extras=True)
    known = [name for name in inspect.signature(cls).parameters if name in hints]
    for name, value in (options or {}).items():
        if name not in known:
            raise RoutingConfigError(
                f"embedder {kind!r} has no option {name!r}; known: {', '.join(known)}"
            )
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            detail = error.errors()[0]["msg"]
            raise RoutingConfigError(f"embedder {kind!r}, option {name!r}: {detail}") from error
    return cast("Callable[..., Embedder]", cls)(**(options or {}))


def describe_embedder(embedder: Embedder) -> tuple[str, dict[str, Any]]:
    """Return the kind and the options from which `make_embedder` builds `embedder` again.

    Every embedder keeps its options under the names of its constructor's parameters.
    """
    names = inspect.signature(type(embedder)).parameters
    return EMBEDDERS.kind_of(embedder), {name: getattr(embedder, name) for name in names}
