"""What outcome data can tell: routers are compared only where several models were tried."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_LEAST_QUERIES = 50
_LEAST_SHARE = 0.2
_LEAST_COMPARED_SHARE = 0.5
_LEAST_SHARE_OF_FEW = 0.8
"""Where there are hardly more than the least number of queries in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """On how many queries outcomes stand beside each other.

    A log of served requests knows one answer to each prompt: the one of the model that was chosen.
    What another model, a mixture or an oracle would have made of it cannot be read off such rows.

    Attributes
    ----------
    n_queries
        With any outcome.
    n_compared
        With outcomes of at least two models.
    n_complete
        With outcomes of all models.
    """

    n_models: int
    n_queries: int
    n_compared: int
    n_complete: int

    @classmethod
    def of(cls, quality: NDArray[np.floating]) -> Self:
        """Count the known outcomes of (n_queries, n_models)."""
        known = (~np.isnan(quality)).sum(axis=1)
        n_models = quality.shape[1]
        return cls(
            n_models=n_models,
            n_queries=int((known > 0).sum()),
            n_compared=int((known > 1).sum()),
            n_complete=int((known == n_models).sum()),
        )

    @property
    def complete(self) -> bool:
        """Whether enough queries know all models: what an oracle reaches can be said."""
        return self._enough(self.n_complete, _LEAST_SHARE)

    @property
    def comparable(self) -> bool:
        """Whether routers can be compared at all, be it on partly different queries."""
        return self.complete or self._enough(self.n_compared, _LEAST_COMPARED_SHARE)

    def _enough(self, n: int, share: float) -> bool:
        few = min(_LEAST_QUERIES, _LEAST_SHARE_OF_FEW * self.n_queries)
        return n >= max(few, share * self.n_queries, 1)

    @property
    def warning(self) -> str | None:
        """What a reader of the numbers has to know, as sentences; None where all is well."""
        if self.complete:
            return None
        counted = (
            f"of {self.n_queries} queries {self.n_compared} "
            f"({self.n_compared / max(self.n_queries, 1):.0%}) have outcomes of two or more models "
            f"and {self.n_complete} of all {self.n_models}"
        )
        if self.comparable:
            return (
                f"{counted}: averages are over known outcomes, so routers are compared on partly "
                "different queries, and what an oracle would reach is not known"
            )
        return (
            f"{counted}: what routers, mixtures of models or an oracle would reach on them cannot "
            "be told and is left out; have all models answer some of the prompts "
            f"(at least {_LEAST_QUERIES}, or {_LEAST_SHARE:.0%} of them)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "comparable": self.comparable, "complete": self.complete}
