"""What the calls that run at the moment may cost."""


class Running:
    """What the models that are asked at the moment may cost, in billionths of a US dollar.

    A model may be asked several times at the same time. Which of its calls ends is not told: it is
    taken for the cheapest, so that what still runs is never thought to cost less than it may.
    """

    __slots__ = ("_nusd",)

    def __init__(self) -> None:
        self._nusd: dict[str, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._nusd)

    @property
    def total_nusd(self) -> int:
        """All of them together."""
        return sum([sum(each) for each in self._nusd.values()])

    def begin(self, model_id: str, nusd: int) -> None:
        """Note a call that begins, and what it may cost."""
        self._nusd.setdefault(model_id, []).append(nusd)

    def end(self, model_id: str) -> None:
        """Note that a model's call has ended; nothing where none was noted."""
        calls = self._nusd.get(model_id)
        if calls is None:
            return
        calls.remove(min(calls))
        if not calls:
            del self._nusd[model_id]
