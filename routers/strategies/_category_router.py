"""What routers of categories share: a table of categories by models, and who answers which."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.base import (
    DEFAULT_OUTPUT_TOKENS,
    DEFAULT_UPPER_FACTOR,
    Familiarity,
    FitContext,
    Labels,
    Router,
)
from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.options import (
    State,
    build,
    options_of,
    prefixed,
    require_fitted,
    take,
    under,
    unfitted,
)
from routers.strategies._budget import Budget, Facts, FactsByModel, sizes_of
from routers.strategies._category_model import (
    CategoriesConfig,
    CategoryModel,
    Identified,
)
from routers.strategies._category_names import OTHER
from routers.strategies._category_rows import CategoryRows
from routers.strategies._category_table import tabulate, with_lead
from routers.strategies._expert_mapping import MeanLimit, best_mapping, limits_of, mapping_by_hand
from routers.strategies._lengths import Lengths
from routers.types import Categories, FloatMatrix, Predictions


@dataclass(kw_only=True)
class CategoryRouter(Router):
    """Say what a query is about, and have the expert of that answer; see the strategies.

    Quality and lengths are the means of the rows that the classifier took for the same category,
    shrunk toward the models' own means. The expert of a category leads: no model is predicted to
    be better there, so that at the position 1 of the knob the expert answers, and below it
    whoever is worth more at its cost, as with any router. Where no category is identified the
    generalist leads.
    """

    scheme: ClassVar[str] = "category"

    categories: CategoriesConfig = field(
        default_factory=lambda: CategoriesConfig.model_validate({})
    )
    experts: dict[str, str] = field(default_factory=dict)
    budget: Budget | None = None
    facts: FactsByModel = field(default_factory=lambda: FactsByModel({}))
    uncertain_below: Annotated[float, Field(ge=0, le=1)] = 0.5
    z: Annotated[float, Field(ge=0)] = 1.64
    model_: CategoryModel = unfitted()
    table_: FloatMatrix = unfitted()  # (n_categories + 1, n_models), the last where none is known
    error_: FloatMatrix = unfitted()  # the same, standard errors
    tokens_: FloatMatrix = unfitted()  # the same
    share_: FloatArray = unfitted()  # (n_categories + 1,)
    cost_: FloatMatrix | None = unfitted()  # (n_categories + 1, n_models) in USD, where known
    lengths_: Lengths = unfitted()
    rows_: CategoryRows | None = unfitted()  # None where the table was published
    expert_: NDArray[np.intp] = unfitted()  # (n_categories + 1,)
    served_: FloatMatrix = unfitted()  # `table_` with the experts in the lead

    def _mixed_from(self) -> float | None:
        """Return from which chance on two categories together are believed."""
        return None

    def _classifier(self) -> CategoryModel:
        return CategoryModel(
            config=self._sought(),
            uncertain_below=self.uncertain_below,
            mixed_from=self._mixed_from(),
        )

    def _sought(self) -> CategoriesConfig:
        """Return where categories come from: those that experts are named for, if any are."""
        named: dict[str, list[str]] = {name: [] for name in self.experts if name != OTHER}
        if not named or self.categories.names:
            return self.categories
        return self.categories.model_copy(update={"names": named})

    def _fit(self, context: FitContext) -> None:
        labels = context.labels
        self.model_, about = self._classifier().fit(
            context.x, labels.groups, labels.quality, rng=context.rng
        )
        self.lengths_ = Lengths.learn(labels)
        self.rows_ = CategoryRows.collect(about, labels, rng=context.rng)
        self._tabulate(about, labels)
        self.models_ = labels.models
        self.map_experts()

    def _tabulate(self, about: Identified, labels: Labels) -> None:
        table = tabulate(about, labels, self.lengths_, n_categories=len(self.model_.names_))
        self.table_, self.error_, self.tokens_ = table.quality, table.error, table.output_tokens
        self.share_, self.cost_ = table.share, table.cost_usd

    # --- who answers what -----------------------------------------------------------------------

    def map_experts(self) -> None:
        """Find the expert of every category, and let it lead.

        Raises
        ------
        RoutingConfigError
            If an expert or a category is unknown, facts are missing, or no mapping fits.
        """
        models = self.models_
        column = {model: i for i, model in enumerate(models)}
        by_hand = self._by_hand(column)
        footprint, means = limits_of(
            self.budget or Budget(), self.facts, models, self.cost_, n_categories=len(self.table_)
        )
        if by_hand is None:
            loss = 1 - self.table_.astype(np.float64)
            chosen = best_mapping(loss, self.share_, footprint=footprint, means=means)
        else:
            chosen = by_hand
        self.expert_ = self._rolled_back(chosen, means)
        self._lead()

    def _by_hand(self, column: Mapping[str, int]) -> NDArray[np.intp] | None:
        if not self.experts:
            return None
        if self.budget is not None:
            raise RoutingConfigError("give either experts by hand or a budget to find them under")
        best = int(self._overall().argmax())
        return mapping_by_hand(self.experts, self.model_.names_, column, generalist=best)

    def _overall(self) -> FloatArray:
        return np.asarray(self.share_ @ self.table_)

    def _rolled_back(
        self, chosen: NDArray[np.intp], means: Sequence[MeanLimit]
    ) -> NDArray[np.intp]:
        """Give categories back to the generalist whose expert is not better beyond noise.

        Not those whose expert takes less of what is limited: it is there for that.
        """
        general = int(chosen[-1])
        difference, error = self._compared(general)
        kept = chosen.copy()
        for category, expert in enumerate(chosen[:-1].tolist()):
            saves = any(
                each.amount[category, expert] < each.amount[category, general] for each in means
            )
            beats = difference[category, expert] > self.z * error[category, expert]
            if expert != general and not saves and not beats:
                kept[category] = general
        return kept

    def _compared(self, general: int) -> tuple[FloatArray, FloatArray]:
        """Return by how much each model is better than the generalist, and the standard errors."""
        if self.rows_ is not None:
            return self.rows_.compared(len(self.table_), general)
        # Published results: the questions were the same, but who got which right is not told.
        difference = self.table_ - self.table_[:, [general]]
        return difference.astype(np.float64), np.hypot(self.error_, self.error_[:, [general]])

    def _lead(self) -> None:
        self.served_ = with_lead(self.table_, self.expert_)

    def remapped(
        self,
        *,
        experts: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        facts: Mapping[str, Facts] | None = None,
        cost_usd: FloatMatrix | None = None,
    ) -> Self:
        """Return a router that has learned the same and answers by another mapping.

        Parameters
        ----------
        cost_usd
            (n_categories + 1, n_models), what answers cost today.

        Raises
        ------
        RoutingConfigError
            If an expert or a category is unknown, facts are missing, or no mapping fits.
        """
        options = options_of(self) | {
            "experts": dict(experts or {}),
            "budget": None if budget is None else budget.model_dump(exclude_none=True),
        }
        if experts and not self.categories.names:
            # What the categories are was learned: it must not follow who answers them.
            names = {name: [name] for name in self.model_.names_}
            categories = self._sought().model_copy(update={"names": names})
            options["categories"] = categories.model_dump(mode="json")
        if facts is not None:
            options["facts"] = {
                model: each.model_dump(exclude_none=True) for model, each in facts.items()
            }
        again = build(type(self), options, noun=f"strategy {self.kind!r}")
        again.restore(self.state(), self.models_)
        if cost_usd is not None:
            again.cost_ = cost_usd.astype(np.float32)
        again.map_experts()
        return again

    # --- predictions ----------------------------------------------------------------------------

    def _predict(self, x: FloatMatrix) -> Predictions:
        return self.predict_identified(self.model_.identify(x))

    def predict_identified(self, about: Identified) -> Predictions:
        """Predict every model on queries of which it is known what they are about."""
        first = about.first  # -1 stands for none, and so does the last row
        quality, std, tokens = self.served_[first], self.error_[first], self.tokens_[first]
        if (about.second >= 0).any():
            quality, std, tokens = self._mixed(about)
        usual, upper = self.lengths_.rows(len(first))
        upper *= tokens / np.maximum(usual, 1e-6)
        return Predictions(
            quality=quality,
            quality_std=std,
            output_tokens=tokens,
            output_tokens_upper=np.maximum(upper, tokens),
            categories=Categories(
                scheme=self.scheme, names=self.model_.names_, first=first, second=about.second
            ),
        )

    def _mixed(self, about: Identified) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
        """Weigh two categories; one of their experts leads if it is no worse in either."""
        first, second = about.first, about.second
        share = np.where(second >= 0, about.weight, 0)[:, None].astype(np.float32)
        std, tokens = (
            (1 - share) * table[first] + share * table[second]
            for table in (self.error_, self.tokens_)
        )
        quality = self.served_[first].copy()
        rows = np.flatnonzero(second >= 0)
        a, b = first[rows], second[rows]
        both = (1 - share[rows]) * self.table_[a] + share[rows] * self.table_[b]
        general = self.expert_[-1]
        lead = np.full(len(rows), general)
        for own in (b, a):
            expert = self.expert_[own]
            no_worse = (self.table_[a, expert] >= self.table_[a, general]) & (
                self.table_[b, expert] >= self.table_[b, general]
            )
            lead = np.where(no_worse, expert, lead)
        quality[rows] = with_lead(both, lead)
        return quality.astype(np.float32), std.astype(np.float32), tokens.astype(np.float32)

    @classmethod
    def published(
        cls,
        models: Sequence[str],
        *,
        categories: CategoriesConfig,
        table: FloatMatrix,
        error: FloatMatrix,
        **options: Any,
    ) -> Self:
        """Make a router of published results, which tells categories by the block `request`.

        Parameters
        ----------
        categories
            From `domain` or `kind`, with as many names as the table has rows but the last.
        table, error
            (n_categories + 1, n_models), results and their standard errors; the last row is for
            what is of no category.
        """
        router = cls(categories=categories, **options)
        router.model_ = router._classifier().describe()
        n_rows, n_models = table.shape
        lengths = np.full(n_models, DEFAULT_OUTPUT_TOKENS, np.float32)
        upper = lengths * np.float32(DEFAULT_UPPER_FACTOR)
        router.lengths_ = Lengths(lengths, upper, known=False)
        router.table_, router.error_ = table.astype(np.float32), error.astype(np.float32)
        router.tokens_ = np.tile(lengths, (n_rows, 1))
        router.share_ = np.full(n_rows, 1 / n_rows)
        router.models_ = tuple(models)
        router.map_experts()
        return router

    def check_mapping(self) -> None:
        """Refuse to map anew where no mapping decides; here one does."""

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where that is unknown."""
        novelty = None if self.model_ is None else self.model_.novelty_
        return None if novelty is None else novelty.familiarity(x)

    # --- what is stored -------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Return the classifier, the table, the mapping, and the rows to map anew by."""
        require_fitted(self, "expert_")
        state = {
            **prefixed("model.", self.model_.state()),
            **self.lengths_.state(),
            "table": self.table_,
            "error": self.error_,
            "tokens": self.tokens_,
            "share": self.share_,
            "expert": self.expert_.astype(np.int32),
        }
        if self.cost_ is not None:
            state["cost"] = self.cost_
        if self.rows_ is not None:
            state |= prefixed("rows.", self.rows_.state())
        return state

    def _restore(self, state: State) -> None:
        self.model_ = self._classifier().restore(under("model.", state))
        self.lengths_ = Lengths.restore(state)
        self.table_, self.error_, self.tokens_ = (
            take(state, name, ndim=2) for name in ("table", "error", "tokens")
        )
        self.share_ = take(state, "share", ndim=1)
        self.expert_ = take(state, "expert", ndim=1).astype(np.intp)
        self.cost_ = take(state, "cost", ndim=2) if "cost" in state else None
        rows = under("rows.", state)
        self.rows_ = CategoryRows.restore(rows) if rows else None
        shape = (len(self.model_.names_) + 1, len(self.lengths_.mean))
        tables = [self.table_, self.error_, self.tokens_]
        tables += [] if self.cost_ is None else [self.cost_]
        if (
            any(each.shape != shape for each in tables)
            or len(self.share_) != shape[0]
            or len(self.expert_) != shape[0]
            or self.expert_.min() < 0
            or self.expert_.max() >= shape[1]
            or (self.rows_ is not None and not self.rows_.fit_into(*shape))
        ):
            raise ValueError("the table, the mapping and the categories do not fit together")
        self._lead()

    # --- what is told ---------------------------------------------------------------------------

    def report(self) -> list[dict[str, Any]]:
        """Return who answers what and why, a category each; the last is for what is none."""
        models, general = self.models_ or (), int(self.expert_[-1])
        difference, error = self._compared(general)
        told = []
        for category, expert in enumerate(self.expert_.tolist()):
            last = category == len(self.expert_) - 1
            entry = {
                "category": OTHER if last else self.model_.names_[category],
                "expert": models[expert] if models else expert,
                "specialist": expert != general,
                "share": round(float(self.share_[category]), 4),
                "quality": round(float(self.table_[category, expert]), 4),
                "over_generalist": round(float(difference[category, expert]), 4),
                "standard_error": round(float(error[category, expert]), 4),
            }
            told.append(entry)
        return told

    def totals(self, models: Sequence[str]) -> dict[str, float]:
        """Return what the mapping comes to: quality, and of sizes and costs what is known."""
        rows, experts = np.arange(len(self.expert_)), self.expert_
        totals = {"quality": float(self.share_ @ self.table_[rows, experts])}
        for fact in ("parameters_b", "active_parameters_b"):
            if not self.facts.root:
                continue
            sizes = sizes_of(models, self.facts, fact)
            mean = fact == "active_parameters_b"
            total = self.share_ @ sizes[experts] if mean else sizes[np.unique(experts)].sum()
            if np.isfinite(total):
                totals[fact] = float(total)
        if self.cost_ is not None:
            totals["usd_per_request"] = float(self.share_ @ self.cost_[rows, experts])
        return totals

    def notes(self) -> dict[str, Any]:
        """Say who answers what, and where lengths come from."""
        return {
            "generalist": self.models_[self.expert_[-1]] if self.models_ else None,
            "categories": self.report(),
            "output_tokens": self.lengths_.note(),
        }
