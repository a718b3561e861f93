"""Messages from queries to models over labelled edges, and two readings of every edge."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from routers.estimators.adam import Parameters
from routers.numeric import sigmoid
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

NAMES = (
    "project",
    "usual",
    "message",
    "worth",
    "describe",
    "cost_usual",
    "cost_message",
    "cost_describe",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Outcomes as edges between queries and models.

    Attributes
    ----------
    effect, length
        (n_queries, n_models): quality, and the logarithm of output tokens on a standard scale; 0
        where unknown.
    effect_known, length_known
        bool, the same shape.
    """

    effect: FloatMatrix
    length: FloatMatrix
    effect_known: np.ndarray
    length_known: np.ndarray

    def rows(self, index: np.ndarray) -> "Edges":
        """Return the edges of some queries."""
        return Edges(
            effect=self.effect[index],
            length=self.length[index],
            effect_known=self.effect_known[index],
            length_known=self.length_known[index],
        )


class Messages(NamedTuple):
    """Mean messages of effects and of lengths, (n_models, dim + 1), and over how many edges."""

    effect: FloatMatrix
    length: FloatMatrix
    n_effect: FloatVector
    n_length: FloatVector


def query_nodes(now: Parameters, z: FloatMatrix) -> FloatMatrix:
    """Return the nodes of queries, (n, dim + 1): projected, and a constant."""
    u = z @ now["project"]
    nodes = np.concatenate([u, np.ones((len(u), 1), u.dtype)], axis=1)
    return np.asarray(nodes / _scale(now), u.dtype)


def _scale(now: Parameters) -> float:
    return float(np.sqrt(now["project"].shape[1]))


def profiles(now: Parameters, u: FloatMatrix, edges: Edges, visible: np.ndarray) -> Messages:
    """Return the mean messages that models get over visible edges.

    A message is the query's node times by how much the outcome exceeded what an average model
    makes of that query; the same of lengths.
    """
    return _messages(now, u, _exceeding(now, u, edges, visible))


class _Exceeding(NamedTuple):
    """By how much outcomes exceed an average model's over visible edges, by how many there are."""

    effect: FloatMatrix
    length: FloatMatrix
    n_effect: FloatVector
    n_length: FloatVector


def _exceeding(now: Parameters, u: FloatMatrix, edges: Edges, visible: np.ndarray) -> _Exceeding:
    scale = _scale(now)
    usual = sigmoid(scale * (u @ now["usual"]))[:, None].astype(u.dtype)
    usual_length = (scale * (u @ now["cost_usual"]))[:, None]
    seen, seen_length = visible & edges.effect_known, visible & edges.length_known
    n_effect, n_length = (each.sum(axis=0).astype(u.dtype) for each in (seen, seen_length))
    above = np.where(seen, edges.effect - usual, 0) / np.maximum(n_effect, 1)
    longer = np.where(seen_length, edges.length - usual_length, 0) / np.maximum(n_length, 1)
    return _Exceeding(above, longer, n_effect, n_length)


def _messages(now: Parameters, u: FloatMatrix, exceeding: _Exceeding) -> Messages:
    # As the nodes are of the length that scores ask for, messages are brought back to theirs.
    scale, (above, longer, n_effect, n_length) = _scale(now), exceeding
    return Messages(scale * (above.T @ u), scale * (longer.T @ u), n_effect, n_length)


def model_nodes(
    now: Parameters, got: Messages, descriptions: FloatMatrix
) -> tuple[FloatMatrix, FloatMatrix]:
    """Return the nodes of models for effect and for length, (n_models, dim + 1) each.

    The average model, moved by what messages say, as far as there are edges, and by what the
    description says, as far as there are none.
    """
    trust = (got.n_effect / (got.n_effect + np.exp(now["worth"][0])))[:, None]
    trust_length = (got.n_length / (got.n_length + np.exp(now["worth"][1])))[:, None]
    told, told_length = descriptions @ now["describe"], descriptions @ now["cost_describe"]
    return (
        now["usual"] + trust * (got.effect @ now["message"]) + (1 - trust) * told,
        now["cost_usual"]
        + trust_length * (got.length @ now["cost_message"])
        + (1 - trust_length) * told_length,
    )


def loss_gradients(
    now: Parameters,
    z: FloatMatrix,
    edges: Edges,
    visible: np.ndarray,
    descriptions: FloatMatrix,
    *,
    cost_weight: float,
) -> tuple[float, Parameters]:
    """Return the loss on the edges that are not visible, and its gradients.

    Cross-entropy of effects and `cost_weight` times the squared error of lengths. What an average
    model makes of a query counts as given where it enters messages.
    """
    u = query_nodes(now, z)
    scale = _scale(now)
    exceeding = _exceeding(now, u, edges, visible)
    got = _messages(now, u, exceeding)
    effect, length, n_effect, n_length = got
    x, x_length = model_nodes(now, got, descriptions)
    aim, aim_length = ~visible & edges.effect_known, ~visible & edges.length_known
    share = 1 / max(int(aim.sum()), 1)
    share_length = 2 * cost_weight / max(int(aim_length.sum()), 1)
    logit = scale * (u @ x.T)
    off = scale * (u @ x_length.T) - edges.length
    loss = (np.logaddexp(0, logit[aim]) - edges.effect[aim] * logit[aim]).sum() * share
    loss += 0.5 * share_length * np.square(off[aim_length]).sum()
    # Of the logits, then back to the nodes of models and queries.
    miss = np.where(aim, sigmoid(logit) - edges.effect, 0).astype(u.dtype) * u.dtype.type(share)
    miss_length = np.where(aim_length, off, 0).astype(u.dtype) * u.dtype.type(share_length)
    to_x, to_x_length = scale * (miss.T @ u), scale * (miss_length.T @ u)
    to_u = scale * (miss @ x + miss_length @ x_length)
    worth = np.exp(now["worth"])
    trust = (n_effect / (n_effect + worth[0]))[:, None]
    trust_length = (n_length / (n_length + worth[1]))[:, None]
    to_effect = trust * to_x @ now["message"].T
    to_length = trust_length * to_x_length @ now["cost_message"].T
    # Messages run over visible edges only: the outcomes that are aimed at are not in them.
    to_u = to_u + scale * (exceeding.effect @ to_effect + exceeding.length @ to_length)
    moved = effect @ now["message"] - descriptions @ now["describe"]
    moved_length = length @ now["cost_message"] - descriptions @ now["cost_describe"]
    to_worth = [
        -float((to_x * moved * trust * (1 - trust)).sum()),
        -float((to_x_length * moved_length * trust_length * (1 - trust_length)).sum()),
    ]
    gradients = {
        "project": z.T @ to_u[:, :-1] / scale,
        "usual": to_x.sum(axis=0),
        "message": effect.T @ (trust * to_x),
        "worth": np.asarray(to_worth),
        "describe": descriptions.T @ ((1 - trust) * to_x),
        "cost_usual": to_x_length.sum(axis=0),
        "cost_message": length.T @ (trust_length * to_x_length),
        "cost_describe": descriptions.T @ ((1 - trust_length) * to_x_length),
    }
    return float(loss), {
        name: np.asarray(each, now[name].dtype) for name, each in gradients.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The scorer: the log-odds of effect, of a query's node and the nodes of models.

    Attributes
    ----------
    weights
        By the names of `NAMES`.
    nodes, cost_nodes
        (n_models, dim + 1), after messages over all edges of the training.
    """

    weights: Parameters
    nodes: FloatMatrix
    cost_nodes: FloatMatrix

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models)."""
        return self.read(z, self.nodes)

    def read(self, z: FloatMatrix, nodes: FloatMatrix) -> FloatMatrix:
        """Return what edges to some nodes are read as."""
        u = query_nodes(self.weights, z)
        return np.asarray(_scale(self.weights) * u.dot(nodes.T), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {**self.weights, "nodes": self.nodes, "cost_nodes": self.cost_nodes}

    @classmethod
    def restore(cls, state: State, n_models: int) -> "Graph":
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        vectors = {"usual", "worth", "cost_usual"}
        weights = {name: take(state, name, ndim=1 if name in vectors else 2) for name in NAMES}
        nodes, cost_nodes = take(state, "nodes", ndim=2), take(state, "cost_nodes", ndim=2)
        width = weights["project"].shape[1] + 1
        columns = len(weights["describe"])
        shapes = {
            "usual": (width,),
            "message": (width, width),
            "worth": (2,),
            "describe": (columns, width),
            "cost_usual": (width,),
            "cost_message": (width, width),
            "cost_describe": (columns, width),
        }
        fits = all(weights[name].shape == shape for name, shape in shapes.items())
        if not fits or not nodes.shape == cost_nodes.shape == (n_models, width):
            raise ValueError("the nodes and the weights of a graph do not fit together")
        return cls(weights=weights, nodes=nodes, cost_nodes=cost_nodes)
