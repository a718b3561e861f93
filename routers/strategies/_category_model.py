"""What a query is about, or that this cannot be told: the classifier behind routers of categories.

Where the training data say what each query is about (benchmark, subject), a regression carries it
to others; without labels queries fall into clusters; and the block `request` describes a request
whatever the training data are. None is believed of queries unlike the training data.
"""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from routers.errors import DataError
from routers.numeric import unit_rows
from routers.options import (
    State,
    packed_lines,
    prefixed,
    require_fitted,
    take,
    take_lines,
    under,
    unfitted,
)
from routers.request.layout import DOMAINS, KINDS, Description
from routers.strategies._category_names import OTHER, domains_of, name_rows, printable
from routers.strategies._domains import DomainModel
from routers.strategies._novelty import Novelty
from routers.types import FloatMatrix

_FEWEST_QUERIES = 8
_ROWS_PER_CLUSTER = 12

_KERNELS = 4
_STRANGE = 0.1
"""Share of a category's own queries that are no nearer to its centres than is believed of others: a
regression is sure of its favourite on queries like none that it has learned of, too."""


class CategoriesConfig(BaseModel):
    """Where categories come from.

    Attributes
    ----------
    source
        Written `from`. `labels` takes the most exact labels of the training rows that are common
        enough (subject, else benchmark), `benchmark` the benchmarks; `domain` and `kind` take what
        the block `request`, which has to come first, says of a request; `clusters` needs neither.
        `auto` takes labels where there are at least two, else clusters.
    names
        Categories by name, and which labels (or domains) each stands for: words in them, such as
        `{maths: [math, gsm8k]}`. An empty list stands for what is known of the name. What no name
        claims is `other`.
    n
        How many clusters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: Literal["auto", "labels", "benchmark", "domain", "kind", "clusters"] = Field(
        "auto", alias="from"
    )
    names: dict[str, list[str]] = {}
    n: Annotated[int, Field(ge=2, le=200)] = 12


def default_categories() -> CategoriesConfig:
    """Return the configuration that says nothing."""
    return CategoriesConfig.model_validate({})


@dataclass(frozen=True, slots=True)
class Identified:
    """What queries are about; arrays are (n_queries,).

    Attributes
    ----------
    first, second
        Positions of categories, -1 for none. A second one only stands beside a first.
    weight
        float32, how much the second counts beside the first, from 0 to 0.5.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    weight: np.ndarray


@dataclass(kw_only=True)
class CategoryModel:
    """Tell categories apart, and say so where none is positively identified.

    Parameters
    ----------
    config
        Where categories come from.
    uncertain_below
        Least chance of a category that is believed.
    mixed_from
        Least chance of two categories together that are believed where neither is alone; None
        believes no two.
    """

    config: CategoriesConfig
    uncertain_below: float
    mixed_from: float | None
    names_: tuple[str, ...] = unfitted()
    claims_: NDArray[np.intp] = unfitted()  # (n_chances,), category of every chance or -1
    domains_: DomainModel | None = unfitted()
    centers_: FloatMatrix | None = unfitted()  # (n_categories, n_features), unit rows
    kernels_: FloatMatrix | None = unfitted()  # (n_centers, n_features), unit rows
    bounds_: FloatMatrix | None = unfitted()  # (n_centers, 2): category, least similarity
    novelty_: Novelty | None = unfitted()

    def fit(
        self,
        x: FloatMatrix,
        groups: Sequence[str],
        quality: FloatMatrix,
        *,
        rng: np.random.Generator,
    ) -> tuple[Self, Identified]:
        """Learn the categories; return itself and what the training rows are about.

        The latter is told by classifiers that have not learned from the row, so that it is as
        uncertain as that of a new query.

        Raises
        ------
        DataError
            If labels are asked for that do not tell two categories apart.
        """
        self.novelty_ = Novelty().fit(x, quality, groups=groups, rng=rng)
        self.domains_ = self.centers_ = self.kernels_ = self.bounds_ = None
        source = self.config.source
        labels = self._labels(groups) if source in ("auto", "labels", "benchmark") else []
        if len({each for each in labels if each}) > 1:
            named = bool(self._wanted())
            exact = self._exact(labels, groups) if named else labels
            self.domains_, own = DomainModel(logistic=named).fit(x, exact, quality, rng=rng)
            found = [each.split("/")[0] for each in DomainModel.told_apart(exact)]
            self._claim(tuple(dict.fromkeys(each for each in found if each != OTHER)), found)
            chances = self.domains_.chances_of(own)
            self._find_kernels(x, labels, rng=rng)
        elif source in ("labels", "benchmark"):
            raise DataError(
                f"categories from {source}: the labels of the data (set, benchmark, subset) do not "
                f"tell two categories of at least {_FEWEST_QUERIES} queries apart; name others "
                "under categories.names, or take them from clusters, domain or kind"
            )
        else:
            if source in ("auto", "clusters"):
                self._find_clusters(x, rng=rng)
            else:
                self.describe()
            chances = self._chances(x)
        return self, self._identified(x, chances)

    def describe(self) -> Self:
        """Take the categories that the block `request` tells, which needs no training data."""
        by_kind = self.config.source == "kind"
        every = KINDS if by_kind else DOMAINS
        names = self._wanted()
        if not names:
            self.names_, self.claims_ = every, np.arange(len(every))
            return self
        if by_kind:
            claims = {kind: at for at, (n, k) in enumerate(names.items()) for kind in (*k, n)}
        else:
            claims = domains_of(names)
        self.names_ = tuple(names)
        self.claims_ = np.array([claims.get(each, -1) for each in every], np.intp)
        return self

    def identify(self, x: FloatMatrix) -> Identified:
        """Say what each query is about."""
        require_fitted(self, "names_")
        return self._identified(x, self._chances(x))

    def chances(self, x: FloatMatrix) -> FloatMatrix:
        """Return float32 (n_queries, n_categories + 1): the chance of each, the last of none."""
        require_fitted(self, "names_")
        known = self._by_category(self._chances(x))
        none = np.maximum(1 - known.sum(axis=1, keepdims=True), 0)
        return np.asarray(np.hstack([known, none]), np.float32)

    def _by_category(self, chances: FloatMatrix) -> FloatMatrix:
        known = np.zeros((len(chances), len(self.names_)), np.float32)
        claimed = np.flatnonzero(self.claims_ >= 0)
        np.add.at(known.T, self.claims_[claimed], chances[:, claimed].T)
        return known

    def _labels(self, groups: Sequence[str]) -> list[str]:
        labels = name_rows(groups, self._wanted(), benchmark=self.config.source == "benchmark")
        counts = {each: labels.count(each) for each in set(labels)}
        return [each if counts[each] >= _FEWEST_QUERIES else "" for each in labels]

    def _exact(self, labels: Sequence[str], groups: Sequence[str]) -> list[str]:
        """Return `category/label`: what one name joins, and all else, is learned by its parts.

        A line cannot hold economics, history and engineering together as one `other`.
        """
        parts = name_rows(groups, {}, benchmark=self.config.source == "benchmark")
        return [
            f"{label}/{part}" if label and part else label
            for label, part in zip(labels, parts, strict=True)
        ]

    def _wanted(self) -> dict[str, list[str]]:
        return {
            printable(name): given for name, given in self.config.names.items() if name != OTHER
        }

    def _claim(self, names: tuple[str, ...], of_chances: Sequence[str]) -> None:
        self.names_ = names
        at = {name: i for i, name in enumerate(names)}
        self.claims_ = np.array([at.get(each, -1) for each in of_chances], np.intp)

    def _find_clusters(self, x: FloatMatrix, *, rng: np.random.Generator) -> None:
        from sklearn.cluster import KMeans  # noqa: PLC0415  (training only)

        unit = unit_rows(x)
        n = max(1, min(self.config.n, len(unit) // _ROWS_PER_CLUSTER))
        found = KMeans(n, n_init=2, random_state=int(rng.integers(2**31))).fit(unit)
        # Rounded as it will be stored, so that a restored model answers the same.
        centers = unit_rows(found.cluster_centers_.astype(np.float32)).astype(np.float16)
        self.centers_ = centers.astype(np.float32)
        names = tuple(f"cluster {i + 1}" for i in range(n))
        self._claim(names, names)

    def _find_kernels(
        self, x: FloatMatrix, labels: Sequence[str], *, rng: np.random.Generator
    ) -> None:
        """Learn where the queries of each category lie, and how near to there is usual."""
        from sklearn.cluster import KMeans  # noqa: PLC0415  (training only)

        unit, of_row = unit_rows(x), np.asarray(labels)
        kernels, bounds = [], []
        for category, name in enumerate(self.names_):
            own = unit[of_row == name]
            n = max(1, min(_KERNELS, len(own) // _ROWS_PER_CLUSTER))
            found = KMeans(n, n_init=1, random_state=int(rng.integers(2**31))).fit(own)
            # Rounded as it will be stored, so that a restored model answers the same.
            center = unit_rows(found.cluster_centers_.astype(np.float32)).astype(np.float16)
            near = (own @ center.astype(np.float32).T).max(axis=1)
            kernels.append(center.astype(np.float32))
            bounds += [(category, float(np.quantile(near, _STRANGE)))] * n
        self.kernels_ = np.concatenate(kernels)
        self.bounds_ = np.array(bounds, np.float32)

    def _near(self, x: FloatMatrix, category: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether queries lie where those of a category (-1: any) do."""
        if self.kernels_ is None or self.bounds_ is None:
            return np.ones(len(x), bool)
        norms = np.sqrt(np.vecdot(x, x))[:, None]
        near = x.dot(self.kernels_.T) >= self.bounds_[:, 1] * np.maximum(norms, 1e-12)
        own = self.bounds_[:, 0] == category[:, None]
        return np.asarray((near & own).any(axis=1) | (category < 0))

    def _chances(self, x: FloatMatrix) -> FloatMatrix:
        if self.domains_ is not None:
            return self.domains_.chances(x)
        if self.centers_ is not None:
            nearest = x.dot(self.centers_.T).argmax(axis=1)
            return np.asarray(np.eye(len(self.centers_), dtype=np.float32)[nearest])
        request = Description.read(x)
        chances: FloatMatrix = request.domains
        if self.config.source == "kind":
            chances = request.kinds
        return chances

    def _identified(self, x: FloatMatrix, chances: FloatMatrix) -> Identified:
        n = len(self.names_)
        known = self._by_category(chances)
        rows = np.arange(len(known))
        first = known.argmax(axis=1)
        best = known[rows, first]
        second, weight = np.full(len(known), -1, np.intp), np.zeros(len(known), np.float32)
        believed = best >= self.uncertain_below
        if self.mixed_from is not None and n > 1:
            others = known.copy()
            others[rows, first] = -1
            next_best = others.argmax(axis=1)
            both = best + known[rows, next_best]
            mixed = ~believed & (both >= self.mixed_from)
            second[mixed] = next_best[mixed]
            weight[mixed] = (known[rows, next_best] / np.maximum(both, 1e-9))[mixed]
            believed = believed | mixed
        if self.novelty_ is not None:
            believed = believed & ~self.novelty_.familiarity(x).unlike_most
        # What is of two categories lies between them.
        believed = believed & (self._near(x, first) | ((second >= 0) & self._near(x, second)))
        return Identified(
            first=np.where(believed, first, -1),
            second=np.where(believed, second, -1),
            weight=np.where(believed, weight, 0).astype(np.float32),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return what was learned."""
        require_fitted(self, "names_")
        state: dict[str, np.ndarray] = {
            "names": packed_lines(self.names_),
            "claims": self.claims_.astype(np.int32),
        }
        if self.domains_ is not None:
            state |= prefixed("domains.", self.domains_.state())
        if self.centers_ is not None:
            state["centers"] = self.centers_.astype(np.float16)
        if self.kernels_ is not None and self.bounds_ is not None:
            state["kernels"] = self.kernels_.astype(np.float16)
            state["bounds"] = self.bounds_
        if self.novelty_ is not None:
            state |= prefixed("novelty.", self.novelty_.state())
        return state

    def restore(self, state: State) -> Self:
        """Take over what `state` returned."""
        self.names_ = tuple(take_lines(state, "names"))
        self.claims_ = take(state, "claims", ndim=1).astype(np.intp)
        domains, novelty = under("domains.", state), under("novelty.", state)
        self.domains_ = DomainModel().restore(domains) if domains else None
        self.novelty_ = Novelty().restore(novelty) if novelty else None
        self.centers_ = None
        if "centers" in state:
            self.centers_ = take(state, "centers", ndim=2).astype(np.float32)
        self.kernels_ = self.bounds_ = None
        if "kernels" in state:
            self.kernels_ = take(state, "kernels", ndim=2).astype(np.float32)
            self.bounds_ = take(state, "bounds", ndim=2)
            if self.bounds_.shape != (len(self.kernels_), 2):
                raise ValueError("the centres of categories and their bounds do not fit together")
        n_chances = len(KINDS) if self.config.source == "kind" else len(DOMAINS)
        if self.domains_ is not None:
            n_chances = len(self.domains_.quality_)
        elif self.centers_ is not None:
            n_chances = len(self.centers_)
        claims = self.claims_
        if not self.names_ or len(claims) != n_chances:
            raise ValueError("there are not as many categories as a classifier tells apart")
        if claims.min() < -1 or claims.max() >= len(self.names_):
            raise ValueError("a class stands for a category that there is not")
        return self
