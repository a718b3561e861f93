"""Go by what a request is for where it is unlike all that was learned: Glider's two routers."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from routers.base import ROUTERS, Familiarity, FitContext, Router
from routers.numeric import FloatArray, nan_mean, unit_rows
from routers.options import State, build, prefixed, require_fitted, take, under, unfitted
from routers.request.task_vectors import TASK_COLUMNS
from routers.strategies._category_model import (
    CategoriesConfig,
    CategoryModel,
    Identified,
    default_categories,
)
from routers.types import Categories, FloatMatrix, FloatVector, Predictions

_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SHARPNESS = (0.0, 2.0, 4.0, 8.0)
_FOLDS = 5
_ALL_THE_SAME, _ABOUT_THE_SAME = 0.99, 0.9
"""Cosines of what queries of one task say that they are for, and of what another may say."""

_STRANGE = 0.02
"""Share of a task's own queries that may be further off."""

_PRIOR_ROWS = 5.0
"""Queries of average quality that a task's mean starts with."""


class BaseConfig(BaseModel):
    """The router that predicts each query by itself: a strategy and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: str = "guarded-knn"
    options: dict[str, Any] = {}


@ROUTERS.register("tasks")
@dataclass(kw_only=True)
class TasksRouter(Router):
    """Predict a query of a known task by itself, one of another task by its task as well.

    A router of queries extrapolates badly to tasks that it has not seen. There a model counts by
    its profile: how much better or worse than all models it did on the tasks that were, each task
    counting once, and more the nearer the request's task is to it. What is predicted is

        level + w * (profile - its mean) + (1 - w) * (prediction - level)

    with the query's own level, so that the scale is that of quality. `w`, and how much nearness
    counts, are chosen on tasks that were left out. Whether a query is of a known task is told by a
    classifier that may say that it is of none. Where the training queries of a task say all the
    same of what they are for, as those of one application do, a query has to say about that, too.

    Reads the columns of the block `task`, which has to come first, apart from all others.

    Parameters
    ----------
    base
        The router of queries.
    categories
        Where tasks come from, as of `composition`.
    uncertain_below
        Least chance of a task at which a query counts as one of it.
    weight
        `w`; None chooses it.

    References
    ----------
    Li et al. 2024, Glider: global and local instruction-driven expert router, arXiv:2410.07172.
    """

    kind: ClassVar[str] = "tasks"
    first_block: ClassVar[str | None] = "task"

    base: BaseConfig = field(default_factory=BaseConfig)
    categories: CategoriesConfig = field(default_factory=default_categories)
    uncertain_below: Annotated[float, Field(ge=0, le=1)] = 0.65
    weight: Annotated[float, Field(ge=0, le=1)] | None = None
    model_: CategoryModel = unfitted()
    base_: Router = unfitted()
    vectors_: FloatMatrix = unfitted()  # (n_tasks, n_task_columns), unit rows
    floor_: FloatVector = unfitted()  # (n_tasks,), least cosine to the task's vector
    lead_: FloatMatrix = unfitted()  # (n_tasks, n_models), quality over the mean of all models
    weight_: float = unfitted()
    sharpness_: float = unfitted()

    def __post_init__(self) -> None:
        """Find a wrong option of the base before anything is learned."""
        self._new_base()

    def _new_base(self) -> Router:
        return build(
            ROUTERS.get(self.base.strategy),
            self.base.options,
            noun=f"strategy {self.base.strategy!r} under `base`",
        )

    def _fit(self, context: FitContext) -> None:
        labels, rng = context.labels, context.rng
        of_task, x = _apart(context.x)
        self.model_, about = self._classifier().fit(x, labels.groups, labels.quality, rng=rng)
        self.vectors_, self.lead_ = _profiles(
            of_task, labels.quality, about.first, len(self.model_.names_)
        )
        self.floor_ = _floors(of_task, self.vectors_, about.first)
        self.weight_, self.sharpness_ = self._choose(context, about, of_task, x)
        self.base_ = self._new_base().fit(
            x,
            labels,
            rng=rng,
            auxiliary=[replace(each, x=_apart(each.x)[1]) for each in context.auxiliary],
            length_column=_length_column(context),
        )

    def _classifier(self) -> CategoryModel:
        return CategoryModel(
            config=self.categories, uncertain_below=self.uncertain_below, mixed_from=None
        )

    def _choose(
        self, context: FitContext, about: Identified, of_task: FloatMatrix, x: FloatMatrix
    ) -> tuple[float, float]:
        """Return the weight and the sharpness that err least on tasks that were left out."""
        quality, n_tasks = context.labels.quality, len(self.model_.names_)
        if n_tasks < 3:
            return 0.0 if self.weight is None else self.weight, 0.0
        weights = _WEIGHTS if self.weight is None else (self.weight,)
        fold_of_task = context.rng.permutation(n_tasks) % min(_FOLDS, n_tasks)
        fold = np.where(about.first < 0, -1, fold_of_task[about.first])
        error = np.zeros((len(weights), len(_SHARPNESS)))
        n_judged = 0
        for held in range(int(fold.max()) + 1):
            # What could not be told may be of any task, the one that is left out among them.
            learned = np.flatnonzero((fold >= 0) & (fold != held))
            judged = np.flatnonzero(fold == held)
            if not len(judged) or not len(learned) or np.isnan(quality[learned]).all(axis=0).any():
                continue
            base = self._new_base().fit(
                x[learned],
                context.labels.rows(learned),
                rng=context.rng,
                length_column=_length_column(context),
            )
            predicted = base.predict(x[judged]).quality
            kept = np.flatnonzero(fold_of_task != held)
            for s, sharpness in enumerate(_SHARPNESS):
                lead = _lead(of_task[judged], self.vectors_[kept], self.lead_[kept], sharpness)
                for w, weight in enumerate(weights):
                    mixed = _mixed(predicted, lead, weight)
                    error[w, s] += _error(mixed, quality[judged], about.first[judged])
            n_judged += 1
        if not n_judged:
            return 0.0 if self.weight is None else self.weight, 0.0
        best_w, best_s = divmod(int(error.argmin()), len(_SHARPNESS))
        return weights[best_w], _SHARPNESS[best_s]

    def _predict(self, x: FloatMatrix) -> Predictions:
        require_fitted(self, "base_")
        of_task, x = _apart(x)
        about = self._identify(of_task, x)
        found = self.base_.predict(x)
        quality, unknown = found.quality, np.flatnonzero(about < 0)
        if len(unknown) and self.weight_:
            lead = _lead(of_task[unknown], self.vectors_, self.lead_, self.sharpness_)
            quality = quality.copy()
            quality[unknown] = _mixed(quality[unknown], lead, self.weight_)
        return Predictions(
            quality=np.clip(quality, 0, 1),
            quality_std=found.quality_std,
            output_tokens=found.output_tokens,
            output_tokens_upper=found.output_tokens_upper,
            categories=Categories(
                scheme="category",
                names=self.model_.names_,
                first=about,
                second=np.full_like(about, -1),
            ),
        )

    def _identify(self, of_task: FloatMatrix, x: FloatMatrix) -> NDArray[np.intp]:
        """Return the known task of each query, -1 for none."""
        task = self.model_.identify(x).first
        near = np.einsum("ij,ij->i", of_task, self.vectors_[task])
        return np.where((task >= 0) & (near >= self.floor_[task]), task, -1)

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where that is unknown."""
        novelty = None if self.model_ is None else self.model_.novelty_
        return None if novelty is None else novelty.familiarity(_apart(x)[1])

    def state(self) -> dict[str, np.ndarray]:
        """Return the classifier, the profiles and the router of queries."""
        require_fitted(self, "base_")
        return {
            **prefixed("base.", self.base_.state()),
            **prefixed("model.", self.model_.state()),
            "vectors": self.vectors_,
            "lead": self.lead_,
            "floor": self.floor_,
            "mix": np.array([self.weight_, self.sharpness_]),
        }

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what `state` returned; predictions are then the same to the last bit.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        self.base_ = self._new_base().restore(under("base.", state), models)
        return super().restore(state, models)

    def _restore(self, state: State) -> None:
        self.model_ = self._classifier().restore(under("model.", state))
        self.vectors_, self.lead_ = (take(state, name, ndim=2) for name in ("vectors", "lead"))
        self.floor_, mix = (take(state, name, ndim=1) for name in ("floor", "mix"))
        if (
            len(self.vectors_) != len(self.model_.names_)
            or len(self.lead_) != len(self.vectors_)
            or len(self.floor_) != len(self.vectors_)
            or len(mix) != 2
        ):
            raise ValueError("the tasks of a router and their profiles do not fit together")
        self.weight_, self.sharpness_ = map(float, mix)

    def notes(self) -> dict[str, Any]:
        """Say what counts on unknown tasks, and what the router of queries says of itself."""
        return {
            **self.base_.notes(),
            "tasks": list(self.model_.names_),
            "weight_on_unknown_tasks": self.weight_,
            "sharpness": self.sharpness_,
        }


def _apart(x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Return what a row says of its task, and everything else; fewer columns say both."""
    if x.shape[1] <= TASK_COLUMNS:
        return unit_rows(x), x
    return x[:, :TASK_COLUMNS], x[:, TASK_COLUMNS:]


def _length_column(context: FitContext) -> int | None:
    column = context.length_column
    if column is None or context.x.shape[1] <= TASK_COLUMNS:
        return column
    return None if column < TASK_COLUMNS else column - TASK_COLUMNS


def _profiles(
    of_task: FloatMatrix, quality: FloatMatrix, task: NDArray[np.intp], n_tasks: int
) -> tuple[FloatMatrix, FloatMatrix]:
    """Return where tasks are, and how much each model leads on them."""
    member = np.eye(n_tasks + 1)[np.where(task < 0, n_tasks, task)].T[:n_tasks]
    vectors = unit_rows(np.asarray(member @ of_task, np.float32))
    known = ~np.isnan(quality)
    usual = nan_mean(quality, default=0.0)
    total = member @ np.where(known, quality, 0) + _PRIOR_ROWS * usual
    table: FloatArray = total / (member @ known + _PRIOR_ROWS)
    lead = table - table.mean(axis=1, keepdims=True)
    return vectors, lead.astype(np.float32)


def _floors(of_task: FloatMatrix, vectors: FloatMatrix, task: NDArray[np.intp]) -> FloatVector:
    """Return how near to each task a query has to be: not at all where its own are scattered."""
    floors = np.full(len(vectors), -2.0, np.float32)
    for each, vector in enumerate(vectors):
        near = of_task[task == each] @ vector
        if len(near) and np.median(near) >= _ALL_THE_SAME:
            floors[each] = min(_ABOUT_THE_SAME, float(np.quantile(near, _STRANGE)))
    return floors


def _lead(
    of_task: FloatMatrix, vectors: FloatMatrix, lead: FloatMatrix, sharpness: float
) -> FloatMatrix:
    """Return how much models lead on tasks like those of some rows, (n_rows, n_models)."""
    near = np.exp(sharpness * (of_task @ vectors.T - 1))
    return np.asarray(near @ lead / near.sum(axis=1, keepdims=True), np.float32)


def _mixed(quality: FloatMatrix, lead: FloatMatrix, weight: float) -> FloatMatrix:
    level = quality.mean(axis=1, keepdims=True)
    return np.asarray(level + weight * lead + (1 - weight) * (quality - level), np.float32)


def _error(mixed: FloatMatrix, quality: FloatMatrix, task: NDArray[np.intp]) -> float:
    """Return how far leads are off, by the square, every task counting once.

    Which model is ahead is what is asked, not how hard a query is.
    """
    missed = quality - mixed
    missed -= nan_mean(missed.T, default=0.0)[:, None]
    squares = nan_mean(missed.T**2, default=0.0)
    return float(sum(squares[task == each].mean() for each in np.unique(task)))
