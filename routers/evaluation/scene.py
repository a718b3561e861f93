"""A workflow over many recorded queries: what it would have called and served, at what cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routers.answers.recorded import RecordedAnswers
from routers.base import DEFAULT_OUTPUT_TOKENS
from routers.decision.choice import choose_each
from routers.decision.decide import estimate_each
from routers.decisions import CandidateEstimate
from routers.evaluation.frame import Rows
from routers.models import Demand, ModelSpec, Prices
from routers.numeric import FloatArray, nan_mean
from routers.task import Room
from routers.types import Conversation, FloatMatrix, Predictions

FIRST_TOKEN_S, TOKENS_PER_S = 0.5, 50.0
"""What an answer takes whose latency nobody recorded: some half second, then a usual speed."""

NOBODY = -1
"""In the place of a column: nothing was served."""

_UPPER_INPUT = 1.25
"""A cautious estimate of input tokens over the reported number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Queries, what was predicted of every candidate on each, and what came of it.

    Arrays are (n_queries, n_candidates), columns as in `candidates`.

    Attributes
    ----------
    candidates
        The models that may be called, by the names that the workflow knows.
    predictions
        What the router expects; without one `assumed_tokens` stand for the lengths of answers,
        and nothing for their quality.
    x
        The features that the router saw, (n_queries, n_features).
    answers
        None where nothing looks at answers.
    cost_usd, output_tokens, latency_s
        Of the answers.
    assumed_tokens
        (n_candidates,), output tokens.
    others
        Prices of models that may be asked beyond the candidates, such as a judge.
    """

    candidates: tuple[ModelSpec, ...]
    query_ids: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    input_tokens: FloatArray
    predictions: Predictions | None
    x: FloatMatrix | None
    answers: RecordedAnswers | None
    cost_usd: FloatArray
    output_tokens: FloatArray
    latency_s: FloatArray
    assumed_tokens: FloatArray
    others: Mapping[str, Prices] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.query_ids)

    @classmethod
    def of(  # noqa: PLR0917
        cls,
        candidates: Sequence[ModelSpec],
        query_ids: Sequence[str],
        rows: Rows,
        predictions: Predictions | None,
        x: FloatMatrix | None,
        answers: RecordedAnswers | None,
    ) -> "Scene":
        """Set rows whose models are the candidates; latencies that nobody recorded are assumed."""
        assumed = nan_mean(rows.output_tokens, default=DEFAULT_OUTPUT_TOKENS)
        tokens = np.where(np.isnan(rows.output_tokens), assumed, rows.output_tokens)
        latency_s = FIRST_TOKEN_S + tokens / TOKENS_PER_S
        if answers is not None and answers.latency_s is not None:
            latency_s = np.where(np.isnan(answers.latency_s), latency_s, answers.latency_s)
        return cls(
            candidates=tuple(candidates),
            query_ids=tuple(query_ids),
            conversations=rows.conversations,
            input_tokens=rows.input_tokens,
            predictions=predictions,
            x=x,
            answers=answers,
            cost_usd=rows.cost_usd,
            output_tokens=rows.output_tokens,
            latency_s=latency_s,
            assumed_tokens=assumed,
        )

    def rows(self, index: NDArray[np.intp]) -> "Scene":
        """Return some of the queries, in the order of `index`."""
        return Scene(
            candidates=self.candidates,
            query_ids=tuple(self.query_ids[i] for i in index),
            conversations=tuple(self.conversations[i] for i in index),
            input_tokens=self.input_tokens[index],
            predictions=None if self.predictions is None else self.predictions.rows(index),
            x=None if self.x is None else self.x[index],
            answers=None if self.answers is None else self.answers.rows(index),
            cost_usd=self.cost_usd[index],
            output_tokens=self.output_tokens[index],
            latency_s=self.latency_s[index],
            assumed_tokens=self.assumed_tokens,
            others=self.others,
        )

    def estimates(self, row: int) -> tuple[CandidateEstimate, ...]:
        """Return what was known of each candidate before a query was answered."""
        n = int(self.input_tokens[row])
        demand = Demand(input_tokens=n, input_tokens_upper=int(n * _UPPER_INPUT))
        if self.predictions is not None:
            known = self.predictions.rows(np.asarray([row]))
            return tuple(estimate_each(self.candidates, known, demand))
        return tuple(
            CandidateEstimate(
                model_id=spec.model_id,
                quality=None,
                quality_std=None,
                input_tokens=n,
                output_tokens=tokens,
                output_tokens_upper=None,
                cost_usd=spec.prices.cost_usd(input_tokens=n, output_tokens=tokens),
                cost_usd_upper=None,
            )
            for spec, tokens in zip(self.candidates, self.assumed_tokens.tolist(), strict=True)
        )

    def expected_costs(self) -> FloatArray:
        """Return what each answer was expected to cost, in US dollars; NaN where unknown."""
        tokens = (
            np.broadcast_to(self.assumed_tokens, self.cost_usd.shape)
            if self.predictions is None
            else self.predictions.output_tokens.astype(np.float64)
        )
        usd = [
            [each.prices.input_usd_per_mtok, each.prices.output_usd_per_mtok]
            for each in self.candidates
        ]
        per_input, per_output = np.asarray(usd, dtype=np.float64).T / 1e6
        return np.asarray(self.input_tokens[:, None] * per_input + tokens * per_output)

    def choices(self, rates: Sequence[float]) -> NDArray[np.intp]:
        """Return what the router alone chooses at each exchange rate, (n_rates, n_queries)."""
        assert self.predictions is not None  # noqa: S101  (the caller has a router)
        names = [each.model_id for each in self.candidates]
        return choose_each(self.predictions.quality, self.expected_costs(), rates, model_ids=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What one query may use, all of its calls together."""

    calls: int = 16
    cost_usd: float | None = None
    time_s: float | None = None

    def room(self) -> Room:
        """Return the room that a query has to begin with."""
        return Room(calls=self.calls, cost_usd=self.cost_usd, time_s=self.time_s)


NO_CEILINGS = Ceilings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How one setting of a policy went; arrays are (n_queries,).

    Attributes
    ----------
    calls
        Columns of the models that were called, in that order; those of who is no candidate come
        after these (`Unheard.others`).
    served
        Column of the model whose answer was served, or `NOBODY`.
    cost_usd
        Of all calls.
    latency_s, latency_sum_s
        Along the slowest call of each round, and of all calls one after the other.
    own_quality
        What the very answer that served was worth, where models were asked repeatedly and it
        stands beside it; NaN where the outcome of the model tells.
    """

    calls: list[tuple[int, ...]]
    served: NDArray[np.intp]
    cost_usd: FloatArray
    latency_s: FloatArray
    latency_sum_s: FloatArray
    own_quality: FloatArray

    def rows(self, index: NDArray[np.intp]) -> "Position":
        """Return how some of the queries went, in the order of `index`."""
        return Position(
            calls=[self.calls[i] for i in index],
            served=self.served[index],
            cost_usd=self.cost_usd[index],
            latency_s=self.latency_s[index],
            latency_sum_s=self.latency_sum_s[index],
            own_quality=self.own_quality[index],
        )

    def quality(self, outcomes: NDArray[np.floating]) -> FloatArray:
        """Return what each served answer was worth, NaN where unknown and 0 where none served.

        Parameters
        ----------
        outcomes
            Of the candidates, (n_queries, n_candidates).
        """
        known = outcomes[np.arange(len(self.served)), self.served]
        known = np.where(np.isnan(self.own_quality), known, self.own_quality)
        return np.where(self.served == NOBODY, 0.0, known)

    @property
    def n_calls(self) -> FloatArray:
        """How many calls each query took."""
        return np.asarray([len(each) for each in self.calls], dtype=np.float64)


def stacked_positions(parts: Sequence[Position]) -> Position:
    """Return how the queries of all parts went, one part below the other."""
    return Position(
        calls=[calls for part in parts for calls in part.calls],
        served=np.concatenate([part.served for part in parts]),
        cost_usd=np.concatenate([part.cost_usd for part in parts]),
        latency_s=np.concatenate([part.latency_s for part in parts]),
        latency_sum_s=np.concatenate([part.latency_sum_s for part in parts]),
        own_quality=np.concatenate([part.own_quality for part in parts]),
    )


def alone(scene: Scene, picks: NDArray[np.intp]) -> Position:
    """Return how single choice goes: one call each, (n_queries,) columns."""
    at = np.arange(len(scene))
    latency_s = scene.latency_s[at, picks]
    return Position(
        calls=[(column,) for column in picks.tolist()],
        served=picks,
        cost_usd=scene.cost_usd[at, picks],
        latency_s=latency_s,
        latency_sum_s=latency_s,
        own_quality=np.full(len(scene), np.nan),
    )
