"""What may be put in front of a router that words can push around."""

from collections.abc import Sequence

import numpy as np

from routers.robustness.subject import Placements, Subject
from routers.types import Conversation, Message

_CROPS = 9


class Smoothed:
    """A router that hears nine crops of half length beside the whole, and takes the median.

    References
    ----------
    Cohen et al. 2019, randomised smoothing, arXiv:1902.02918, on words in place of noise.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.name = f"{subject.name}, smoothed"

    def place(self, conversations: Sequence[Conversation]) -> Placements:
        """Decide by the median of quality and cost over the crops."""
        posed = [crop for each in conversations for crop in crops(each)]
        placed = self._subject.place(posed)
        n, k = len(conversations), _CROPS + 1
        quality = np.median(placed.quality.reshape(n, k, -1), axis=1)
        cost = placed.cost_usd.reshape(n, k, -1)[:, 0]
        # The crop whose choice stands in the middle, by what it costs for the whole.
        picks = placed.picks.reshape(len(placed.picks), n, k)
        usd = np.where(picks >= 0, cost[np.arange(n)[None, :, None], picks], np.inf)
        middle = np.argsort(usd, axis=2, kind="stable")[:, :, k // 2]
        return Placements(
            models=placed.models,
            quality=quality,
            cost_usd=cost,
            picks=np.take_along_axis(picks, middle[:, :, None], axis=2)[:, :, 0],
        )


def crops(conversation: Conversation) -> list[Conversation]:
    """Return the conversation and nine of it whose newest turn is half as long."""
    last = conversation.messages[-1]
    words = last.text.split(" ")
    length = max(1, len(words) // 2)
    starts = np.linspace(0, len(words) - length, _CROPS).round().astype(int)
    return [
        conversation,
        *(
            Conversation(
                (
                    *conversation.messages[:-1],
                    Message(last.role, " ".join(words[start : start + length])),
                )
            )
            for start in starts
        ),
    ]
