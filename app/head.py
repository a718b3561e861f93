"""What the headers of a request say: walked once, and looked into by name from then on."""

from collections.abc import Callable, Iterable, Iterator, Mapping

_MEANT_FOR_US = (b"x", b"cost", b"route", b"steelyard")
"""How headers begin that routing reads, or that may be misspelt ones of these."""

_OF_A_CLIENT = b"x-stainless-"
"""How the headers begin that OpenAI's clients send eight of by themselves."""

_FIRST_BYTES = frozenset(each[:1] for each in _MEANT_FOR_US)
_NONE: tuple[bytes, ...] = ()
_NO_HEADERS: Mapping[bytes, tuple[bytes, ...]] = {}


class RequestHead:
    """The headers of one request, names in lower case.

    Attributes
    ----------
    meant_for_us
        Those that may be routing headers, in their order.
    repeated
        The values of names that came more than once.
    """

    __slots__ = ("_values", "get", "meant_for_us", "repeated")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, bytes] = {}
        self.repeated: Mapping[bytes, tuple[bytes, ...]] = _NO_HEADERS
        self.meant_for_us: list[tuple[bytes, bytes]] = []
        values = self._values
        twice: dict[bytes, tuple[bytes, ...]] = {}
        for name, value in headers:
            if name in values:
                twice[name] = (*twice.get(name, (values[name],)), value)
            values[name] = value
            if name[:12] == _OF_A_CLIENT or name[:1] not in _FIRST_BYTES:
                continue
            if name.startswith(_MEANT_FOR_US):
                self.meant_for_us.append((name, value))
        if twice:
            self.repeated = twice
        self.get: Callable[[bytes], bytes | None] = values.get
        """Returns the last value of a name; None where it did not come."""

    def __iter__(self) -> Iterator[bytes]:
        """Go through the names, each once."""
        return iter(self._values)

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Return every value of a name."""
        value = self._values.get(name)
        if value is None:
            return _NONE
        return self.repeated.get(name, (value,))


NO_HEAD = RequestHead(())
