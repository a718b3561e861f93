"""One answer of a simulated model, before it is written in any dialect."""

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool; `pieces` are tokens of its JSON arguments, or of a custom tool's input."""

    name: str
    pieces: list[str]
    custom: bool = False
    namespace: str | None = None

    @property
    def text(self) -> str:
        """All pieces in one."""
        return "".join(self.pieces)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of an answer.

    Attributes
    ----------
    pieces
        Tokens of text.
    calls
        Of tools, which stand in the place of a text.
    thought
        Tokens of what was thought before.
    sure
        How sure the model is of it, from 0 to 1.
    others
        What it might have said in the place of the first token.
    stop_sequence
        Which one ended it.
    """

    pieces: list[str]
    finish_reason: str
    calls: list[Call] = []
    thought: list[str] = []
    sure: float = 1.0
    others: list[str] = []
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        """All pieces of the text in one."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """How many tokens were said, those that were thought and those of calls included."""
        called = sum(len(call.pieces) for call in self.calls)
        return len(self.thought) + len(self.pieces) + called
