"""The best single model, left only where neighbours give evidence: kNN with a guard."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, FitContext, Labels, Router
from routers.errors import DataError
from routers.numeric import FloatArray, nan_mean, row_blocks, unit_rows
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.strategies._lengths import Lengths
from routers.strategies._paired_rows import Near, Overall, PairedRows
from routers.types import FloatMatrix, FloatVector, Predictions

_KEEPS = 1e-5
"""By how much the pinned model leads what nothing distinguishes from it: enough to win at the
position 1 of the knob, where equal qualities go to the cheaper one."""

_HEARD = "heard."


@ROUTERS.register("guarded-knn")
@dataclass(kw_only=True)
class GuardedKnnRouter(Router):
    """Pin the best single model; let others differ from it only as far as neighbours prove it.

    The neighbours of a query are the labelled ones above `relative_bar` times the `anchor`-th best
    similarity: many where much is alike, few where little is. On those that tried both, a model's
    quality is compared with the pinned one's *pair by pair*, so that hard neighbourhoods do not
    count against either. The pinned model is the one of best mean quality; of equals the cheaper.

    What is predicted of another model is the pinned one's quality plus a difference. Without
    evidence that is the models' difference over all rows, which is never positive. Evidence moves
    it toward the neighbours' mean difference, but by no more than what exceeds `z` standard errors
    (a soft threshold around the overall difference), and only if there are `min_pairs` pairs. Two
    things follow:

    - at the position 1 of the knob the pinned model is chosen, unless a mean difference over the
      neighbours is above zero by more than `z` standard errors: the published rule. Ties go to the
      pinned model;
    - at lower positions a cheaper model is taken at its overall difference, and sooner or later
      than that only where the same evidence says so. Without evidence anywhere the knob follows the
      hull of single models.

    Absolute qualities are the pinned model's, guarded by the same threshold around its mean.
    Lengths of answers are the neighbours' means, shrunk toward the model's.

    Parameters
    ----------
    anchor, relative_bar
        Which similarity the bar is relative to, and how near to it a neighbour has to come.
    z
        Standard errors that are not believed.
    dearer_factor
        What `z` is multiplied by where the evidence favours a model that was dearer than the
        pinned one in training. Where costs are not known every model counts as dearer.
    min_pairs
        Fewer pairs are no evidence.
    storage
        Precision in which the labelled queries are remembered, from the first on.

    Notes
    -----
    A standard error counts one observation of the overall variance beside the pairs, so that the
    agreement of a few is not taken for certainty.

    References
    ----------
    experientiallabs/experiential, pull requests 256, 259 and 263 (2026): of some 1,500
    configurations tried on nine models this was the one that survived validation, at z = 0.5. There
    neighbours are weighted by similarity and a candidate is either taken or not; here they count
    alike, and the size of what clears the guard is kept, which the other positions of the knob
    need. Donoho & Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage (soft threshold).
    """

    kind: ClassVar[str] = "guarded-knn"

    anchor: Annotated[int, Field(ge=1)] = 50
    relative_bar: Annotated[float, Field(gt=0, le=1)] = 0.95
    z: Annotated[float, Field(ge=0)] = 0.5
    dearer_factor: Annotated[float, Field(ge=1)] = 2.0
    min_pairs: Annotated[int, Field(ge=2)] = 8
    storage: Literal["float16", "float32"] = "float16"
    pinned_: int = unfitted()
    dearer_: np.ndarray = unfitted()  # bool (n_models,), dearer than the pinned one, or unknown
    lengths_: Lengths = unfitted()
    memory_: "_Memory" = unfitted()

    def _fit(self, context: FitContext) -> None:
        x, labels = context.x, context.labels
        means = nan_mean(labels.quality, default=0.0)
        best = np.flatnonzero(means >= means.max())
        costs = labels.mean_cost_usd
        self.pinned_ = int(best[0] if costs is None else best[costs[best].argmin()])
        self.dearer_ = np.ones(len(means), bool) if costs is None else costs > costs[self.pinned_]
        self.lengths_ = Lengths.learn(labels)
        x = unit_rows(x).astype(self.storage).astype(np.float32)
        tokens = labels.output_tokens if self.lengths_.known else None
        self.memory_ = self._remembering(self._rows(x, labels.quality, tokens), None)

    def _rows(self, x: FloatMatrix, y: FloatMatrix, tokens: FloatMatrix | None) -> PairedRows:
        y = np.asarray(y, np.float32)
        return PairedRows.of(x, y, y - y[:, self.pinned_ : self.pinned_ + 1], tokens)

    def _remembering(self, tried: PairedRows, heard: PairedRows | None) -> "_Memory":
        overall = Overall.of(tried, self.pinned_, min_pairs=self.min_pairs)
        memory = _Memory(tried, None, overall)
        if heard is None or not len(heard):
            return memory
        return _Memory(tried, self._imagined(memory, heard.x, heard.y, heard.tokens), overall)

    def _imagined(
        self, memory: "_Memory", x: FloatMatrix, y: FloatMatrix, tokens: FloatMatrix | None
    ) -> PairedRows:
        """Return queries of which one model's answer is known, as if its pairs were, too."""
        expected = np.empty(y.shape, np.float32)
        for block in row_blocks(len(x), len(memory.tried)):
            expected[block], _ = self._judge(memory.near(x[block], self), memory.overall)
        pinned = y[:, self.pinned_ : self.pinned_ + 1]
        others = np.where(np.isnan(pinned), y, expected)
        own = np.where(np.isnan(pinned), expected[:, self.pinned_ : self.pinned_ + 1], pinned)
        paired = others - own
        paired[:, self.pinned_] = np.where(np.isnan(pinned[:, 0]), np.nan, 0.0)
        return PairedRows.of(x, y, paired, tokens)

    def _predict(self, x: FloatMatrix) -> Predictions:
        memory = self.memory_  # one state, whatever joins meanwhile
        shape = (len(x), len(self.dearer_))
        quality, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
        tokens, upper = self.lengths_.rows(len(x))
        query = unit_rows(x)
        for block in row_blocks(len(x), len(memory)):
            near = memory.near(query[block], self)
            quality[block], std[block] = self._judge(near, memory.overall)
            if memory.tried.tokens is not None:
                usual = tokens[block].copy()
                tokens[block] = near.tokens(usual)
                upper[block] *= tokens[block] / np.maximum(usual, 1e-6)
        return Predictions(
            quality=quality,
            quality_std=std,
            output_tokens=tokens,
            output_tokens_upper=np.maximum(upper, tokens),
        )

    def _judge(self, near: Near, overall: Overall) -> tuple[FloatMatrix, FloatMatrix]:
        pinned = self.pinned_
        difference, error, n_pairs = near.pairs(overall.paired_variance)
        moved = difference - overall.difference
        z = np.where((moved > 0) & self.dearer_, self.dearer_factor * self.z, self.z)
        moved = np.where(n_pairs >= self.min_pairs, _beyond(moved, z * error), 0.0)
        relative = overall.difference + moved - _KEEPS
        relative[:, pinned] = 0.0
        level, level_error, n_known = near.levels(overall.variance)
        above = _beyond(level[:, pinned] - overall.mean[pinned], self.z * level_error[:, pinned])
        enough = n_known[:, pinned] >= self.min_pairs
        base = overall.mean[pinned] + np.where(enough, above, 0.0)
        return _within_bounds(base, relative), level_error.astype(np.float32)

    @property
    def remembers_queries(self) -> bool:
        """It does nothing else."""
        return True

    @property
    def grows_while_asked(self) -> bool:
        """Each question is answered of one state of what is remembered."""
        return True

    def insert(self, x: FloatMatrix, labels: Labels) -> None:
        """Remember further queries; the pinned model, and who is dearer, stay the same.

        Queries that the pinned model and another were tried on are as those of the fit. Of others,
        as feedback tells of the model that answered and of no other, the missing side of each pair
        is what the others let expect there. They are neighbours beyond those that there were:
        the guard's figures (overall means, variances, and how near a neighbour has to be) are of
        queries with pairs alone.
        """
        memory = self.memory_
        x, y = self._rounded(x), np.asarray(labels.quality, np.float32)
        tokens = None
        if memory.tried.tokens is not None:
            given = labels.output_tokens
            tokens = np.full_like(y, np.nan) if given is None else np.asarray(given, np.float32)
        others = np.delete(y, self.pinned_, axis=1)
        alone = np.isnan(y[:, self.pinned_]) | np.isnan(others).all(axis=1)

        def some(rows: np.ndarray) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix | None]:
            return x[rows], y[rows], None if tokens is None else tokens[rows]

        tried, heard = memory.tried, memory.heard
        if not alone.all():
            memory = self._remembering(tried.then(self._rows(*some(~alone))), heard)
        if alone.any():
            further = self._imagined(memory.before_hearing(), *some(alone))
            memory = memory.hearing(further)
        self.memory_ = memory

    def forget(self, x: FloatMatrix) -> int:
        """Forget every remembered query that is one of `x`."""
        x, memory = self._rounded(x), self.memory_
        kept, n = memory.tried.without(x), len(memory)
        if not kept.any():
            raise DataError("none of the remembered queries would be left; fit again without them")
        heard = memory.heard
        if heard is not None:
            heard = heard.pick(heard.without(x))
        tried = memory.tried if kept.all() else memory.tried.pick(kept)
        self.memory_ = self._remembering(tried, heard)
        return n - len(self.memory_)

    def _rounded(self, x: FloatMatrix) -> FloatMatrix:
        return unit_rows(np.asarray(x, np.float32)).astype(self.storage).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the remembered queries and their outcomes, and which model is pinned."""
        require_fitted(self, "lengths_")
        tried, heard = self.memory_.tried, self.memory_.heard
        state = {
            **self.lengths_.state(),
            **self._state_of(tried),
            "pinned": np.asarray([self.pinned_]),
            "dearer": self.dearer_,
        }
        if heard is not None:
            state |= prefixed(_HEARD, {**self._state_of(heard), "paired": heard.paired})
        return state

    def _state_of(self, rows: PairedRows) -> dict[str, np.ndarray]:
        state = {"x": rows.x.astype(self.storage), "y": rows.y}
        return state if rows.tokens is None else {**state, "tokens": rows.tokens}

    def _restore(self, state: State) -> None:
        self.lengths_ = Lengths.restore(state)
        pinned = take(state, "pinned", ndim=1)
        self.dearer_ = take(state, "dearer", ndim=1).astype(bool)
        x, y, tokens = _taken(state)
        n_models = len(self.lengths_.mean)
        if (
            not len(x)
            or y.shape[1] != n_models
            or len(self.dearer_) != n_models
            or len(pinned) != 1
            or not 0 <= int(pinned[0]) < n_models
        ):
            raise ValueError("the arrays of a guarded kNN router do not fit together")
        self.pinned_ = int(pinned[0])
        self.memory_ = self._remembering(self._rows(x, y, tokens), None)
        told = under(_HEARD, state)
        if told:
            x, y, tokens = _taken(told)
            paired = take(told, "paired", ndim=2, unknown=True)
            if (
                not len(x)
                or y.shape[1] != n_models
                or paired.shape != y.shape
                or (tokens is None) != (self.memory_.tried.tokens is None)
                or x.shape[1] != self.memory_.tried.x.shape[1]
            ):
                raise ValueError("the later queries of a guarded kNN router do not fit together")
            self.memory_ = self.memory_.hearing(PairedRows.of(x, y, paired, tokens))

    def notes(self) -> dict[str, Any]:
        """Say which model is pinned, which count as dearer, and where lengths come from."""
        models = self.models_ or ()
        return {
            "pinned": models[self.pinned_] if models else None,
            "dearer": [model for model, is_so in zip(models, self.dearer_, strict=False) if is_so],
            "output_tokens": (
                self.lengths_.note() if self.memory_.tried.tokens is None else "learned"
            ),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is remembered at one time.

    Attributes
    ----------
    tried
        Queries of the fit, and later ones with pairs.
    heard
        Later ones without; None where there are none.
    overall
        Of `tried`.
    """

    tried: PairedRows
    heard: PairedRows | None
    overall: Overall

    def __len__(self) -> int:
        return len(self.tried) + (0 if self.heard is None else len(self.heard))

    def before_hearing(self) -> "_Memory":
        """Return what was tried alone."""
        return self if self.heard is None else _Memory(self.tried, None, self.overall)

    def hearing(self, further: PairedRows) -> "_Memory":
        """Return this and further queries without pairs."""
        heard = further if self.heard is None else self.heard.then(further)
        return _Memory(self.tried, heard, self.overall)

    def near(self, query: FloatMatrix, rule: GuardedKnnRouter) -> Near:
        """Return the neighbours of unit rows."""
        similarity = query @ self.tried.x.T
        at = max(0, similarity.shape[1] - rule.anchor)
        anchor = np.partition(similarity, at, axis=1)[:, at : at + 1]
        # Of a negative similarity too, the bar is below.
        bar = anchor - (1 - rule.relative_bar) * np.abs(anchor)
        parts = [(self.tried, (similarity >= bar).astype(np.float32))]
        if self.heard is not None:
            parts.append((self.heard, (query @ self.heard.x.T >= bar).astype(np.float32)))
        return Near(parts)


def _taken(state: State) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix | None]:
    """Read queries, qualities and output tokens, as `_state_of` returned them."""
    x, y = take(state, "x", ndim=2), take(state, "y", ndim=2, unknown=True)
    tokens = take(state, "tokens", ndim=2, unknown=True) if "tokens" in state else None
    if len(x) != len(y) or (tokens is not None and tokens.shape != y.shape):
        raise ValueError("the arrays of a guarded kNN router do not fit together")
    return x.astype(np.float32), y.astype(np.float32), tokens


def _beyond(value: FloatArray, threshold: FloatArray) -> FloatArray:
    """Return what of a value exceeds a threshold, in either direction."""
    return np.asarray(np.sign(value) * np.maximum(np.abs(value) - threshold, 0.0))


def _within_bounds(base: FloatArray, relative: FloatArray) -> FloatMatrix:
    """Add differences to the pinned quality so that all stay in [0, 1] and none becomes a tie."""
    least, most = relative.min(axis=1), relative.max(axis=1)
    width = np.maximum(most - least, 1.0)
    least, most = least / width, most / width
    moved = np.minimum(np.maximum(base, -least), 1 - most)
    quality: FloatVector = (moved[:, None] + relative / width[:, None]).astype(np.float32)
    return np.clip(quality, 0, 1)
