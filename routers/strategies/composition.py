"""Experts by category, chosen under a budget of memory, active parameters or money."""

from dataclasses import dataclass
from typing import ClassVar

from routers.base import ROUTERS
from routers.strategies._budget import Budget, Facts
from routers.strategies._category_model import CategoriesConfig, Identified
from routers.strategies._category_names import domain_of, printable
from routers.strategies._category_router import CategoryRouter
from routers.strategies._expert_mapping import MeanLimit, best_mapping

__all__ = [
    "Budget",
    "CategoriesConfig",
    "CategoryRouter",
    "CompositionRouter",
    "Facts",
    "Identified",
    "MeanLimit",
    "best_mapping",
    "domain_of",
    "printable",
]


@ROUTERS.register("composition")
@dataclass(kw_only=True)
class CompositionRouter(CategoryRouter):
    """Say of which category a query is, and have the expert answer that a budget allows for it.

    Parameters
    ----------
    categories
        Where categories come from.
    budget
        What the experts may take; without one each category has whoever is best.
    facts
        Sizes of models, for budgets of parameters.
    experts
        The mapping by hand instead, by category; `other` is the generalist.
    uncertain_below
        Least chance of a category at which it counts as identified. Where none does, and on
        queries unlike the training data, the generalist answers.
    z
        Standard errors by which an expert has to be better than the generalist on the rows of its
        category, of which the classifier had not learned; else the generalist keeps them.

    References
    ----------
    Jain et al. 2024, Composition of Experts: a modular compound AI system leveraging large
    language models, arXiv:2412.01868.
    """

    kind: ClassVar[str] = "composition"
