"""What a request was granted, or why a model was too dear for it."""

import msgspec

from app.gateway.money.bid import Bid
from app.stores.claims import Claim, Refusal, Standing


class Ticket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request was granted; it has to be settled once."""

    request_id: str
    claims: tuple[Claim, ...]
    standings: tuple[Standing, ...]
    bid: Bid | None = None
    """What the decided model may use; None of what was claimed for something else."""

    @property
    def granted_nusd(self) -> int | None:
        """What was reserved; None where no budget has to pay."""
        return min(
            [
                standing.granted_nusd
                for claim, standing in zip(self.claims, self.standings, strict=True)
                if claim.budgets
            ],
            default=None,
        )

    @property
    def holds_a_place(self) -> bool:
        """Whether others wait for this request to end."""
        return any(claim.concurrent_requests is not None for claim in self.claims)

    @property
    def shown(self) -> Standing | None:
        """Where the limits stand that the caller is told of: its key's, else the next wider."""
        for each in self.standings:
            if each.requests is not None or each.tokens is not None:
                return each
        return None


class TooDearError(Exception):
    """A budget has too little left for a model; another one may need less.

    Attributes
    ----------
    refusal
        What the store said.
    bid
        Of the model.
    """

    def __init__(self, refusal: Refusal, bid: Bid) -> None:
        super().__init__(bid.model_id)
        self.refusal = refusal
        self.bid = bid
