"""A small neural network, trained and served with numpy."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from routers.heads.base import HEADS, Head
from routers.layer import HiddenLayer
from routers.numeric import clipped, nan_mean
from routers.options import State, require_fitted, take, unfitted
from routers.types import FloatMatrix, FloatVector

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_FARTHEST = 5.0
"""Standardised features are cut off here: beyond, a query is unlike anything learned."""

_SUREST = (0.02, 0.98)
"""Expectations to start from count as no surer than this."""

_FEWEST_STEPS = (100, 600)
"""Small sets are gone through more often, since with fewer steps nothing leaves the starting
point: one step a row, within these bounds. 600 on 150 rows, 200 epochs, learn their noise by heart
(docs/benchmarks/learning_curves.md)."""

_Weights = list[np.ndarray]


class _Batch(NamedTuple):
    """Standardised features, targets, which of them are known, and what outputs start from."""

    z: FloatMatrix
    t: FloatMatrix
    known: FloatMatrix
    lift: FloatMatrix

    def rows(self, index: np.ndarray) -> "_Batch":
        return _Batch(self.z[index], self.t[index], self.known[index], self.lift[index])


@HEADS.register("mlp")
@dataclass(kw_only=True)
class MlpHead(Head):
    """One hidden layer of rectified units, an average over networks of different seeds.

    The output layer starts at zero and its bias at every model's mean, so that training departs
    from "all queries alike" and stops early on what generalises. Given what somebody else expects
    of each query, it departs from that.

    Parameters
    ----------
    loss
        `logistic`: values are chances or shares in [0, 1], by cross-entropy on soft labels.
        `squared`: any values.
    least_spread
        Features are divided by their standard deviation, but by no less than this times the root
        mean square of all of them.
    n_hidden, n_networks, dropout, n_epochs, batch_size, learning_rate, weight_decay
        As usual; the learning rate falls to zero along a cosine, decay is decoupled (AdamW).

    Notes
    -----
    The uncertainty is the spread between the networks, widened by the standard error of the
    model's overall mean.

    References
    ----------
    Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, arXiv:1711.05101;
    Lakshminarayanan et al. 2017, Deep ensembles, arXiv:1612.01474.
    """

    kind: ClassVar[str] = "mlp"
    shares_between_models: ClassVar[bool] = True

    loss: Literal["logistic", "squared"] = "logistic"
    n_hidden: Annotated[int, Field(ge=1, le=4096)] = 192
    n_networks: Annotated[int, Field(ge=1, le=32)] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    n_epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    least_spread: Annotated[float, Field(ge=0)] = 1.0
    center_: FloatVector = unfitted()  # (n_features,)
    scale_: FloatVector = unfitted()  # (n_features,)
    hidden_: np.ndarray = unfitted()  # (n_features, n_networks * n_hidden), half precision
    hidden_bias_: FloatVector = unfitted()
    output_: np.ndarray = unfitted()  # (n_networks, n_hidden, n_models)
    output_bias_: FloatMatrix = unfitted()  # (n_networks, n_models)
    target_: FloatMatrix = unfitted()  # (2, n_models): center and scale of squared targets
    floor_: FloatVector = unfitted()  # (n_models,), least standard deviation
    floor_var_: FloatVector = unfitted()  # the square of that
    layer_: HiddenLayer = unfitted()  # of all networks side by side

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        self._learn(x, y, None, rng)

    @property
    def learns_residuals(self) -> bool:
        """With the logistic loss, whose scale everything expected has."""
        return self.loss == "logistic"

    def _fit_residual(
        self, x: FloatMatrix, y: FloatMatrix, start: FloatMatrix, *, rng: np.random.Generator
    ) -> None:
        self._learn(x, y, _logit(start), rng)

    def _learn(
        self, x: FloatMatrix, y: FloatMatrix, base: FloatMatrix | None, rng: np.random.Generator
    ) -> None:
        self.center_ = x.mean(axis=0)
        spread = x.std(axis=0)
        # Columns that hardly vary are the noisy ones of an embedding: they are not blown up.
        floor = self.least_spread * np.sqrt((spread**2).mean()) if self.least_spread else 0.0
        spread = np.maximum(spread, floor)
        self.scale_ = np.where(spread > 1e-6, spread, 1.0).astype(np.float32)
        known = (~np.isnan(y)).astype(np.float32)
        mean = nan_mean(y, default=0.0)
        deviation = np.sqrt(nan_mean((y - mean) ** 2, default=0.0))
        self.floor_ = (deviation / np.sqrt(known.sum(axis=0))).astype(np.float32)
        if self.loss == "logistic":
            self.target_ = np.stack([np.zeros_like(mean), np.ones_like(mean)]).astype(np.float32)
            chance = np.clip(mean, 1e-3, 1 - 1e-3)
            start = np.log(chance / (1 - chance))
            if base is not None:
                start = np.zeros_like(start)
        else:
            safe = np.where(deviation > 1e-6, deviation, 1.0)
            self.target_ = np.stack([mean, safe]).astype(np.float32)
            start = np.zeros_like(mean)
        z = self._standardise(x)
        t = np.nan_to_num((y - self.target_[0]) / self.target_[1]).astype(np.float32)
        data = _Batch(z, t, known, np.zeros_like(t) if base is None else base)
        networks = [
            self._train(data, start.astype(np.float32), each) for each in rng.spawn(self.n_networks)
        ]
        # Rounded before anything is predicted, so that a restored head answers the same.
        self.hidden_ = np.concatenate([w[0] for w in networks], axis=1).astype(np.float16)
        self.hidden_bias_ = np.concatenate([w[1] for w in networks])
        self.output_ = np.stack([w[2] for w in networks]).astype(np.float16)
        self.output_bias_ = np.stack([w[3] for w in networks])
        self._ready()

    def _ready(self) -> None:
        """Unpack half-precision weights once: numpy computes in single precision only."""
        self.output_ = self.output_.astype(np.float32)
        self.floor_var_ = self.floor_ * self.floor_
        self.layer_ = HiddenLayer(
            self.center_, self.scale_, self.hidden_, self.hidden_bias_, farthest=_FARTHEST
        )

    def _standardise(self, x: FloatMatrix) -> FloatMatrix:
        z = clipped((x - self.center_) / self.scale_, -_FARTHEST, _FARTHEST)
        return np.asarray(z, np.float32)

    def _train(self, data: "_Batch", start: FloatVector, rng: np.random.Generator) -> _Weights:
        """Train one network with AdamW; the loss is the mean over known values."""
        n, d = data.z.shape
        weights: _Weights = [
            (rng.standard_normal((d, self.n_hidden)) * np.sqrt(1 / d)).astype(np.float32),
            np.zeros(self.n_hidden, np.float32),
            np.zeros((self.n_hidden, data.t.shape[1]), np.float32),
            start.copy(),
        ]
        first = [np.zeros_like(w) for w in weights]
        second = [np.zeros_like(w) for w in weights]
        per_epoch = -(-n // self.batch_size)
        fewest = min(max(n, _FEWEST_STEPS[0]), _FEWEST_STEPS[1])
        n_epochs = max(self.n_epochs, -(-fewest // per_epoch))
        n_steps = n_epochs * per_epoch
        step = 0
        for _ in range(n_epochs):
            order = rng.permutation(n)
            for begin in range(0, n, self.batch_size):
                rows = order[begin : begin + self.batch_size]
                kept = rng.random((len(rows), self.n_hidden), dtype=np.float32) >= self.dropout
                mask = kept.astype(np.float32) / np.float32(1 - self.dropout)
                gradients = self._gradients(weights, data.rows(rows), mask)
                step += 1
                rate = self.learning_rate * 0.5 * (1 + np.cos(np.pi * step / n_steps))
                for i, gradient in enumerate(gradients):
                    first[i] += (1 - _BETA_1) * (gradient - first[i])
                    second[i] += (1 - _BETA_2) * (gradient**2 - second[i])
                    ahead = first[i] / (1 - _BETA_1**step)
                    size = np.sqrt(second[i] / (1 - _BETA_2**step)) + _EPSILON
                    if gradient.ndim == 2:
                        weights[i] *= np.float32(1 - rate * self.weight_decay)
                    weights[i] -= np.float32(rate) * (ahead / size).astype(np.float32)
        return weights

    def _gradients(self, weights: _Weights, data: "_Batch", mask: FloatMatrix) -> _Weights:
        w1, b1, w2, b2 = weights
        before = data.z @ w1 + b1
        active = np.maximum(before, 0) * mask
        out = self._link(active @ w2 + b2 + data.lift)
        # Cross-entropy and squared error have the same derivative here.
        error = (out - data.t) * data.known / len(data.z)
        back = (error @ w2.T) * mask * (before > 0)
        return [data.z.T @ back, back.sum(axis=0), active.T @ error, error.sum(axis=0)]

    def _link(self, out: np.ndarray) -> np.ndarray:
        """Turn the output layer's values, which are overwritten, into expectations."""
        if self.loss != "logistic":
            return out
        np.negative(out, out=out)
        np.exp(out, out=out)
        out += 1
        np.reciprocal(out, out=out)
        return out

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the mean of the networks and their spread."""
        return self._answer(x, 0.0)

    def predict_residual(
        self, x: FloatMatrix, start: FloatMatrix
    ) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the same of networks that were fitted with a start."""
        return self._answer(x, _logit(start))

    def _answer(self, x: FloatMatrix, lift: FloatMatrix | float) -> tuple[FloatMatrix, FloatMatrix]:
        require_fitted(self, "hidden_")
        n_networks, width, _ = self.output_.shape
        # All networks at once: (n_networks, n, width) by (n_networks, width, n_models).
        by_network = self.layer_(x).reshape(len(x), n_networks, width).swapaxes(0, 1)
        each = by_network @ self.output_
        each += self.output_bias_[:, None]
        each += lift
        each = self._link(each)
        if self.loss == "squared":
            each = each * self.target_[1] + self.target_[0]
        # Sums written out: the methods `mean` and `var` cost more than the rest on one query.
        mean = np.add.reduce(each, 0)
        mean /= n_networks
        each -= mean
        each *= each
        std = np.add.reduce(each, 0)
        std /= max(n_networks - 1, 1)
        std += self.floor_var_
        return mean, np.sqrt(std, out=std)

    def narrow(self, n_models: int) -> None:
        """Drop the output units of all but the first models; the hidden layer stays."""
        require_fitted(self, "hidden_")
        self.output_ = np.ascontiguousarray(self.output_[:, :, :n_models])
        self.output_bias_ = self.output_bias_[:, :n_models]
        self.target_, self.floor_ = self.target_[:, :n_models], self.floor_[:n_models]
        self.floor_var_ = self.floor_var_[:n_models]

    def state(self) -> dict[str, np.ndarray]:
        """Return the weights, the large ones in half precision."""
        require_fitted(self, "hidden_")
        return {
            "center": self.center_,
            "scale": self.scale_,
            "hidden": self.hidden_.astype(np.float16),
            "hidden_bias": self.hidden_bias_,
            "output": self.output_.astype(np.float16),
            "output_bias": self.output_bias_,
            "target": self.target_,
            "floor": self.floor_,
        }

    def restore(self, state: State) -> Self:
        """Take over weights."""
        output = take(state, "output", ndim=3)
        n_networks, width, n_models = output.shape
        d = len(take(state, "center", ndim=1))
        shapes = {
            "scale": (d,),
            "hidden": (d, n_networks * width),
            "hidden_bias": (n_networks * width,),
            "output_bias": (n_networks, n_models),
            "target": (2, n_models),
            "floor": (n_models,),
        }
        for name, shape in shapes.items():
            if take(state, name, ndim=len(shape)).shape != shape:
                raise ValueError(f"array {name!r} of an mlp head is not of shape {shape}")
        self.center_, self.scale_ = state["center"], state["scale"]
        self.hidden_, self.hidden_bias_ = state["hidden"], state["hidden_bias"]
        self.output_, self.output_bias_ = output, state["output_bias"]
        self.target_, self.floor_ = state["target"], state["floor"]
        self._ready()
        return self


def _logit(chance: FloatMatrix) -> FloatMatrix:
    low, high = _SUREST
    p = np.maximum(chance, low)
    np.minimum(p, high, out=p)
    p /= 1 - p
    return np.log(p, out=p)
