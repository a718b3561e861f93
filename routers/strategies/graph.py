"""Queries and models as nodes, outcomes as edges: models are what their edges and texts say."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import DEFAULT_OUTPUT_TOKENS, ROUTERS, Labels, Newcomer
from routers.errors import DataError
from routers.estimators.adam import Adam, Parameters, descend
from routers.numeric import FloatArray, clipped
from routers.options import State, take, unfitted
from routers.strategies._graph_net import (
    Edges,
    Graph,
    loss_gradients,
    model_nodes,
    profiles,
    query_nodes,
)
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.types import UPPER_QUANTILE, FloatMatrix, FloatVector

_FEW_EDGES = 200
_MOST_EPOCHS = 150
"""Batches are large: what models get over many edges is what is served."""

_MOST_LOG_TOKENS = float(np.log(1e6))
_LEAST_SPREAD = 0.05
_HALF, _LOG_ODDS_PER_QUALITY = 0.5, 4.0
_MOST_FACTOR = 10.0


@ROUTERS.register("graph")
@dataclass(kw_only=True)
class GraphRouter(RankingRouter):
    """Predict effect and cost of the edge between a query and a model: GraphRouter, inductively.

    The node of a model is that of the average model, moved by the mean message over its labelled
    edges (the query's node times by how much the model exceeded the average one on it) and, as far
    as it has few edges, by its description. Two readings of an edge predict quality and the
    logarithm of output tokens, so that scenarios and prices come in when deciding, and none is
    trained for. In every step some edges are visible, and the others are what is learned to
    predict; some models show only a few, so that the network learns what a few are worth.

    Parameters
    ----------
    dim
        Width of the nodes; the query's likely task is among what is projected.
    mask_rate
        Share of the edges that are visible in a step.
    few_rate
        Share of the models that show no more than 200 edges, down to none, in a step.
    cost_weight
        Of the squared error of lengths beside the cross-entropy of effects.
    n_steps, batch_size, learning_rate, weight_decay
        Of Adam; a batch is of queries, with all edges of them.
    own_rule_below
        With so many outcomes or more a further model is not placed by its node but read off the
        predictions of the others, which measured better from 12 outcomes on.

    References
    ----------
    Feng et al. 2024, GraphRouter: a graph-based router for LLM selections, arXiv:2410.03834. The
    release predicts one label, the best model of one scenario.
    """

    kind: ClassVar[str] = "graph"
    reads_descriptions: ClassVar[bool] = True

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    few_rate: Annotated[float, Field(ge=0, le=1)] = 0.2
    cost_weight: Annotated[float, Field(ge=0)] = 0.2
    n_steps: Annotated[int, Field(ge=1)] = 400
    batch_size: Annotated[int, Field(ge=2)] = 1024
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    own_rule_below: Annotated[int, Field(ge=10)] = 10
    tokens_: FloatMatrix = unfitted()  # (2, 1): mean and spread of log lengths
    known_: np.ndarray = unfitted()  # (1,), whether lengths were learned
    factor_: FloatVector = unfitted()  # (n_models,), of the mean over the exponential of the mean
    upper_: FloatVector = unfitted()  # (n_models,), upper quantile of what is left of log lengths

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> Graph:
        z, labels = lesson.z, lesson.labels
        edges = self._edges(labels)
        descriptions = _descriptions(labels)
        parameters = self._start(z, labels, descriptions.shape[1], rng)

        def gradients(now: Parameters, rows: np.ndarray) -> Parameters:
            part = edges.rows(rows)
            return loss_gradients(
                now,
                z[rows],
                part,
                self._visible(part.effect.shape, rng),
                descriptions,
                cost_weight=self.cost_weight,
            )[1]

        descend(
            parameters,
            gradients,
            n_rows=len(z),
            batch_size=self.batch_size,
            n_steps=self.n_steps,
            rate=self.learning_rate,
            adam=Adam(
                decay=self.weight_decay,
                decayed=("project", "message", "describe", "cost_message", "cost_describe"),
            ),
            rng=rng,
            most_epochs=_MOST_EPOCHS,
        )
        everything = np.ones(edges.effect.shape, bool)
        found = profiles(parameters, query_nodes(parameters, z), edges, everything)
        nodes, cost_nodes = model_nodes(parameters, found, descriptions)
        return Graph(
            weights=parameters,
            nodes=np.asarray(nodes, np.float32),
            cost_nodes=np.asarray(cost_nodes, np.float32),
        )

    def _visible(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        n_rows, n_models = shape
        few = rng.random(n_models) < self.few_rate
        most = np.log1p(min(_FEW_EDGES, n_rows))
        count = np.expm1(rng.uniform(0, most, n_models)) / n_rows
        share = np.where(few, count, self.mask_rate)
        return np.asarray(rng.random(shape, dtype=np.float32) < share)

    def _start(
        self, z: FloatMatrix, labels: Labels, n_columns: int, rng: np.random.Generator
    ) -> Parameters:
        width = self.dim + 1
        chance = float(np.clip(np.nanmean(labels.quality), 1e-2, 1 - 1e-2))
        usual = np.zeros(width)
        usual[-1] = np.log(chance / (1 - chance))
        # The first axes at equal deviations: a mean message then is a covariance, and that is half
        # of a regression already. A unit of quality is some four of log-odds.
        project = 0.1 * rng.standard_normal((z.shape[1], self.dim)) / np.sqrt(z.shape[1])
        deviation = np.maximum(z.std(axis=0), 1e-6)
        for axis in range(min(project.shape)):
            project[axis, axis] = 1 / deviation[axis]
        messages = _HALF * np.eye(width)
        messages[-1, -1] = 1.0
        parameters: Parameters = {
            "project": project,
            "usual": usual,
            "message": _LOG_ODDS_PER_QUALITY * messages,
            "worth": np.array([4.0, 4.0]),
            "describe": np.zeros((n_columns, width)),
            "cost_usual": np.zeros(width),
            "cost_message": messages.copy(),
            "cost_describe": np.zeros((n_columns, width)),
        }
        return {name: each.astype(np.float32) for name, each in parameters.items()}

    def _edges(self, labels: Labels) -> Edges:
        known = ~np.isnan(labels.quality)
        tokens = labels.output_tokens
        length = np.full(labels.quality.shape, np.nan) if tokens is None else _log(tokens)
        center, spread = (float(each) for each in self.tokens_[:, 0])
        told = ~np.isnan(length)
        return Edges(
            effect=np.where(known, labels.quality, 0).astype(np.float32),
            length=np.where(told, (length - center) / spread, 0).astype(np.float32),
            effect_known=known,
            length_known=told,
        )

    def _prepare(self, labels: Labels) -> None:
        tokens = labels.output_tokens
        logs = np.empty(0) if tokens is None else _log(tokens)[~np.isnan(tokens)]
        self.known_ = np.array([len(logs) > 0])
        spread = max(float(logs.std()), _LEAST_SPREAD) if len(logs) else 1.0
        center = float(logs.mean()) if len(logs) else float(np.log1p(DEFAULT_OUTPUT_TOKENS))
        self.tokens_ = np.array([[center], [spread]], np.float32)

    def _learn_lengths(
        self,
        lesson: Lesson,
        out_of_fold: list[tuple[np.ndarray, Any]],
        *,
        rng: np.random.Generator,
    ) -> None:
        del rng
        n_models = lesson.labels.quality.shape[1]
        self.factor_ = np.ones(n_models, np.float32)
        self.upper_ = np.full(n_models, np.log(4.0), np.float32)
        tokens = lesson.labels.output_tokens
        if tokens is None or not self.known_[0]:
            return
        guess = np.full(tokens.shape, np.nan)
        for rows, graph in out_of_fold:
            guess[rows] = self._log_tokens(graph, lesson.z[rows], graph.cost_nodes)
        left = _log(tokens) - guess
        pool = np.sort(left[~np.isnan(left)])
        for model in range(n_models):
            own = np.sort(left[~np.isnan(left[:, model]), model])
            own = own if len(own) else pool
            if not len(own):
                continue
            told = ~np.isnan(left[:, model])
            if told.any():
                ratio = (1 + tokens[told, model]).mean() / np.exp(guess[told, model]).mean()
                self.factor_[model] = np.clip(ratio, 1 / _MOST_FACTOR, _MOST_FACTOR)
            rank = int(np.ceil((len(own) + 1) * UPPER_QUANTILE))
            self.upper_[model] = own[min(rank, len(own)) - 1]

    def _log_tokens(self, graph: Graph, z: FloatMatrix, nodes: FloatMatrix) -> FloatMatrix:
        center, spread = self.tokens_[:, 0]
        found: FloatMatrix = center + spread * graph.read(z, nodes)
        return clipped(found, 0, _MOST_LOG_TOKENS)

    def _lengths(self, z: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        found = self._log_tokens(self.scorer_, z, self.scorer_.cost_nodes)
        return _of_logs(found, self.factor_, self.upper_)

    def _lengths_of(self, placed: State, z: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        node = as_vector(placed, "cost_node", self.scorer_.cost_nodes.shape[1])
        found = self._log_tokens(self.scorer_, z, node[None])
        return _of_logs(found, self.factor_.mean(keepdims=True), self.upper_.max(keepdims=True))

    def place(self, newcomer: Newcomer) -> dict[str, np.ndarray] | None:
        """Return the node of a further model; None from `own_rule_below` outcomes on."""
        if len(newcomer.quality) >= self.own_rule_below:
            return None
        return super().place(newcomer)

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray]:
        graph: Graph = self.scorer_
        now = graph.weights
        n_columns = len(now["describe"])
        if newcomer.description is not None and not n_columns:
            raise DataError(
                "the router was trained without descriptions of its models, so that one of another "
                "tells nothing; give some of its outcomes, or fit with --descriptions"
            )
        description = np.zeros((1, n_columns), np.float32)
        if newcomer.description is not None:
            description = np.asarray(newcomer.description, np.float32)[None]
        tokens = np.asarray(newcomer.output_tokens, np.float32)[:, None]
        edges = self._edges(
            Labels(
                models=("",),
                quality=np.asarray(newcomer.quality, np.float32)[:, None],
                output_tokens=tokens,
            )
        )
        there = np.ones(edges.effect.shape, bool)
        found = profiles(now, query_nodes(now, z), edges, there)
        node, cost_node = model_nodes(now, found, description)
        return {
            "node": np.asarray(node[0], np.float32),
            "cost_node": np.asarray(cost_node[0], np.float32),
        }

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        graph: Graph = self.scorer_
        node = as_vector(placed, "node", graph.nodes.shape[1])
        return graph.read(z, node[None])[:, 0]

    def _scorer(self, state: State, n_models: int) -> Graph:
        return Graph.restore(state, n_models)

    def _lengths_state(self) -> dict[str, np.ndarray]:
        return {
            "tokens": self.tokens_,
            "known": self.known_,
            "factor": self.factor_,
            "upper": self.upper_,
        }

    def _restore_lengths(self, state: State, n_models: int) -> None:
        self.tokens_, self.known_ = take(state, "tokens", ndim=2), take(state, "known", ndim=1)
        self.factor_ = as_vector(state, "factor", n_models)
        self.upper_ = as_vector(state, "upper", n_models)
        if self.tokens_.shape != (2, 1) or self.known_.shape != (1,):
            raise ValueError("the lengths of a graph are not told by two numbers")

    def notes(self) -> dict[str, Any]:
        """Say where lengths come from, how many edges the evidence weighs, what was described."""
        weights = self.scorer_.weights
        worth, worth_length = np.exp(weights["worth"]).round(1).tolist()
        return {
            "output_tokens": "learned"
            if self.known_[0]
            else f"assumed to be {DEFAULT_OUTPUT_TOKENS:.0f}: none were given",
            "descriptions": bool(len(weights["describe"])),
            "edges_to_half_trust": {"effect": worth, "cost": worth_length},
        }


def _descriptions(labels: Labels) -> FloatMatrix:
    if labels.descriptions is None:
        return np.zeros((len(labels.models), 0), np.float32)
    return np.asarray(labels.descriptions, np.float32)


def _log(tokens: FloatMatrix | FloatArray) -> FloatArray:
    return np.log1p(np.maximum(np.asarray(tokens, np.float64), 0))


def _of_logs(
    found: FloatMatrix, factor: FloatVector, upper: FloatVector
) -> tuple[FloatMatrix, FloatMatrix]:
    expected = np.exp(found) * factor - 1
    most = np.exp(found + upper) - 1
    expected = np.maximum(expected, 0).astype(np.float32)
    return expected, np.maximum(most, expected).astype(np.float32)
