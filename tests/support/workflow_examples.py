"""One example of every workflow kind, and recorded answers that all of them can learn from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from routers.answers.recorded import RecordedAnswers
from routers.base import Labels
from routers.options import build
from routers.types import Conversation, Predictions
from routers.workflows.base import WORKFLOWS, Workflow, WorkflowContext

MODELS = ("nano", "mini", "middle", "large")
"""The candidates of the examples, which may ask a `judge` besides."""

_VERIFIER = {"kind": "judge", "model": "judge", "auc": 0.9}

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "automix": {"small": "nano", "large": "large", "verifier_cost": 1.0},
    "best-route": {"head": {"kind": "logistic", "options": {"c": 0.1}}},
    "cascade": {
        "stages": ("nano", "mini", "large"),
        "acceptor": {"kind": "judge", "model": "judge"},
    },
    "chain": {
        "stages": (
            {"task": "ocr", "models": ["mini", "nano"], "instructions": "Read the picture."},
            {"task": "translate"},
        )
    },
    "contextual-cascade": {"candidates": MODELS, "verifier": _VERIFIER},
    "frugal-gpt": {"n_quantiles": 10, "slack": 1.0},
    "guarded": {
        "rules": [{"name": "bombs", "pattern": "build a bomb"}],
        "slow": {"model": "judge"},
        "when_harmful": {"models": ["mini"]},
        "then": {"kind": "agree"},
    },
    "learned-threshold": {"cheap": "nano", "strong": "large", "verifier": _VERIFIER},
    "rounds": {"planner": "judge"},
}
"""Options of kinds that their defaults do not suit; a kind that is not here takes its defaults."""

_MEAN_USD = (0.001, 0.003, 0.004, 0.02)
_ABILITY = (-0.3, 0.4, 0.5, 1.6)
_SAMPLES = 8


def example(kind: str, told: WorkflowContext | None = None) -> Workflow:
    """Return a workflow that can run; what has nothing to learn ignores the recorded answers."""
    workflow = build(WORKFLOWS.get(kind), EXAMPLES.get(kind, {}), noun=kind)
    return workflow.fit(told or context())


def context(n: int = 240, *, seed: int = 0) -> WorkflowContext:
    """Return recorded answers to questions that have one right answer and two popular wrong ones.

    Harder queries are answered wrong by weaker models; every model knows a little of how it did.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    chance = 1 / (1 + np.exp(-1.5 * (np.asarray(_ABILITY) - x[:, :1])))
    samples = (rng.random((n, len(MODELS), _SAMPLES)) < chance[:, :, None]).astype(np.float32)
    quality = samples[:, :, 0]
    wrong = rng.choice(["B", "C", ""], size=quality.shape, p=[0.5, 0.4, 0.1])
    literals = np.where(quality > 0, "A", wrong).astype(object)
    texts = np.array([[f"I think it is {each}." for each in row] for row in literals], object)
    tokens = rng.lognormal(4, 0.4, quality.shape) * (1.3 - 0.3 * quality)
    cost = np.asarray(_MEAN_USD) * tokens / 60
    says_correct = np.where(quality > 0, 0.85, 0.3)
    return WorkflowContext(
        x=x,
        conversations=[Conversation.of(f"Question {i}: A, B or C?") for i in range(n)],
        labels=Labels(
            models=MODELS,
            quality=quality,
            output_tokens=tokens.astype(np.float32),
            samples=samples,
            groups=tuple(f"made-up/{i % 2}" for i in range(n)),
        ),
        predictions=Predictions(
            quality=chance.astype(np.float32),
            quality_std=np.full(quality.shape, 0.2, np.float32),
            output_tokens=np.full(quality.shape, 60, np.float32),
            output_tokens_upper=np.full(quality.shape, 120, np.float32),
        ),
        answers=RecordedAnswers(
            models=MODELS,
            literals=literals,
            texts=texts,
            verified=rng.binomial(8, says_correct) / 8,
        ),
        cost_usd=cost,
        predicted_cost_usd=np.tile(np.asarray(_MEAN_USD), (n, 1)),
        folds=rng.integers(0, 4, n),
        rng=rng,
    )
