"""What of an answer's text is kept beside the account, where an operator opted in."""

from dataclasses import dataclass, field

from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk


@dataclass(frozen=True, slots=True)
class Keeps:
    """What of the texts an outcome carries, because the operator opted in."""

    features: bool = False
    """The prompt's embedding is to be kept, which is made from the conversation."""
    answers: bool = False
    """The conversation and its answer are."""


NOTHING = Keeps()
MAX_KEPT_ANSWER_BYTES = 1_000_000
"""Of a longer answer nothing is kept."""


@dataclass(slots=True)
class Heard:
    """An answer as its client got it, as long as it is not too long to be kept."""

    pieces: list[bytes] = field(default_factory=list)
    dialect: str = CHAT_COMPLETIONS
    n_bytes: int = 0

    def hear(self, chunk: Chunk) -> None:
        """Keep what a chunk brings."""
        if chunk.data and self.n_bytes <= MAX_KEPT_ANSWER_BYTES:
            self.pieces.append(chunk.data)
            self.dialect = chunk.dialect
            self.n_bytes += len(chunk.data)

    @property
    def told(self) -> tuple[tuple[bytes, ...], str]:
        """The answer in pieces, nothing where it was too long, and the dialect it is in."""
        return (
            tuple(self.pieces) if self.n_bytes <= MAX_KEPT_ANSWER_BYTES else (),
            self.dialect,
        )
