"""What the headers of a request say: walked once, and looked into by name from then on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

_MEANT_FOR_US = (b"x", b"cost", b"route", b"steelyard")
"""How headers begin that routing reads, or that may be misspelt ones of these."""

_OF_A_CLIENT = b"x-stainless-"
"""How the headers begin that OpenAI's clients send eight of by themselves."""

_MAX_KINDS = 128
"""Of clients, by which headers they send: those of one send the same ones again and again."""

_NONE: tuple[bytes, ...] = ()
_NO_HEADERS: Mapping[bytes, tuple[bytes, ...]] = {}


class RequestHead:
    """The headers of one request, names in lower case.

    Attributes
    ----------
    meant_for_us
        The names of those that may be routing headers, in their order, each once.
    repeated
        The values of names that came more than once.
    """

    __slots__ = ("_values", "get", "meant_for_us", "repeated")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        pairs = [*headers]
        values = self._values = dict(pairs)
        self.repeated: Mapping[bytes, tuple[bytes, ...]] = _NO_HEADERS
        if len(values) != len(pairs):
            self.repeated = _repeated(pairs)
        self.meant_for_us = _ours_of(tuple(values))
        self.get: Callable[[bytes], bytes | None] = values.get
        """Returns the last value of a name; None where it did not come."""

    def __iter__(self) -> Iterator[bytes]:
        """Go through the names, each once."""
        return iter(self._values)

    def values_of(self, names: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return the last value of each of some names that came."""
        return tuple(map(self._values.__getitem__, names))

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Return every value of a name."""
        value = self._values.get(name)
        if value is None:
            return _NONE
        return self.repeated.get(name, (value,))


@lru_cache(maxsize=_MAX_KINDS)
def _ours_of(names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return those of some headers that are meant for us."""
    return tuple(
        name
        for name in names
        if name.startswith(_MEANT_FOR_US) and not name.startswith(_OF_A_CLIENT)
    )


def _repeated(pairs: Iterable[tuple[bytes, bytes]]) -> Mapping[bytes, tuple[bytes, ...]]:
    """Return the values of names that came more than once."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, _NONE), value)
    return {name: values for name, values in found.items() if len(values) > 1}


NO_HEAD = RequestHead(())
