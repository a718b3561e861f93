"""Domain experts: mathematics to one model, medicine to another, all else to a generalist."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from routers.base import ROUTERS
from routers.strategies._category_router import CategoryRouter


@ROUTERS.register("domains")
@dataclass(kw_only=True)
class DomainsRouter(CategoryRouter):
    """Say of which domain a query is, and have the expert of that domain answer.

    Parameters
    ----------
    experts
        Models by domain, `other` for the generalist; without them each domain has whoever is
        best.
    categories
        Where domains come from, and which labels each stands for.
    budget, facts
        As of `composition`, where experts are not given by hand.
    uncertain_below
        Least chance of a domain at which it counts as identified; all else is `other`.
    mixed_from
        Least chance of two domains together of a query that neither has alone. Then an expert
        answers only if it is no worse than the generalist in both.
    z
        Standard errors by which an expert has to beat the generalist on the rows of its domain, of
        which the classifier had not learned; else the generalist keeps the domain.

    References
    ----------
    Simonds et al. 2024, MoDEM: Mixture of Domain Expert Models, arXiv:2410.07490.
    """

    kind: ClassVar[str] = "domains"
    scheme: ClassVar[str] = "domain"

    mixed_from: Annotated[float, Field(ge=0, le=1)] = 0.8

    def _mixed_from(self) -> float | None:
        return self.mixed_from
