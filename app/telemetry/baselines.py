"""What the instruments must know of a configuration: plain values, made once per reload."""

from dataclasses import dataclass

N_SCORE_BINS = 10
"""Into how many equally frequent ranges the scores at training are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What is told of a policy, and what its requests are compared with.

    Attributes
    ----------
    default_model_id, strongest_model_id
        The baselines of its savings: the policy's default model, and the candidate of the highest
        mean quality on the artifact's calibration queries.
    score_edges
        The nine inner deciles of the score on these queries; a request's score is the mean of the
        qualities that are predicted of the candidates. Empty where they cannot be told apart.
    """

    name: str
    version: str
    router: str
    artifact_version: str
    default_model_id: str
    strongest_model_id: str
    score_edges: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFact:
    """Where one budget stands.

    `scope` is key, team or gateway; `period` day, week or month.
    """

    scope: str
    name: str
    period: str
    limit_usd: float
    spent_usd: float
    reserved_usd: float
