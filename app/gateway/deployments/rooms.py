"""How many calls the places where models are served take at once."""

from collections.abc import Callable, Mapping, Sequence

from app.gateway.request import Deployment

Key = tuple[str, str]
"""An upstream, and its name for a model: what `Deployment.key` says."""


class Room:
    """What one place takes at once; configurations come and go, the calls there stay counted."""

    __slots__ = ("_told", "limit", "outstanding")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.outstanding = 0
        """Calls there that have begun and not ended, those of configurations of before too."""
        self._told: list[Callable[[], None]] = []

    @property
    def is_free(self) -> bool:
        """Whether one more call may go there."""
        return self.outstanding < self.limit

    def leave(self) -> None:
        """Note that a call is over, and tell who waits."""
        self.outstanding -= 1
        self.tell()

    def tell(self) -> None:
        """Tell all who want to know that there may be room."""
        for told in tuple(self._told):
            told()

    def watch(self, told: Callable[[], None]) -> None:
        """Have somebody told whenever there may be room; who came first is told first."""
        self._told.append(told)

    def forget(self, told: Callable[[], None]) -> None:
        """Tell somebody no more."""
        self._told.remove(told)


class Rooms:
    """The rooms of all places that are limited."""

    def __init__(self) -> None:
        self._rooms: dict[Key, Room] = {}

    def of(self, deployments: Mapping[str, Sequence[Deployment]]) -> Mapping[Key, Room]:
        """Return those of a configuration; of models at the same place the tightest limit holds."""
        limits: dict[Key, int] = {}
        for each in (each for group in deployments.values() for each in group):
            if each.max_outstanding is not None:
                limits[each.key] = min(
                    each.max_outstanding, limits.get(each.key, each.max_outstanding)
                )
        self._rooms = {key: self._rooms.get(key) or Room(limit) for key, limit in limits.items()}
        for key, limit in limits.items():
            room = self._rooms[key]
            room.limit = limit
            room.tell()  # it may be more than before
        return dict(self._rooms)
