"""Measure what one routing decision costs, stage by stage: tokenise, embed, features, score, pick.

    python -m loadtest.bench_decision [--rounds 300] [--json FILE]

Every row is one request decided alone on one thread, as the gateway does it: short, medium and
long prompts (16, 64, 256, 2,000 tokens of English) against 2, 11 and 50 models, with each kind of
head. The models are made up (outcomes drawn at random), so that their number can be chosen; cost
does not depend on the values. Stages are timed one after the other in the same round, the total
is timed by itself; the medians are printed, and the 99th percentile of the total.

No time is asserted anywhere: the machine decides it. Compare ratios.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from routers.artifact import RouterArtifact
from routers.artifact_load import load_artifact
from routers.decision import decide
from routers.embedders.static import StaticEmbedder
from routers.features import estimate_tokens, estimate_tokens_upper
from routers.training.fit import fit
from routers.training.recipe import Recipe
from routers.types import Constraints, Conversation, CostQuality, Demand, ModelSpec
from routers.wordpiece import WordPiece

_TEXT = (
    "the model router weighs what an answer is worth against what it costs and sends each request "
    "to the cheapest one that is likely to do well because most questions are easy while some need "
    "careful reasoning over several steps with numbers tables code or long documents in them"
)

_TRAINING_ROWS = 2000
_LENGTHS = (16, 64, 256, 2000)
_MODELS = (2, 11, 50)
_HEADS = ("mlp", "linear", "knn")


def main() -> None:
    """Run every combination and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, numpy {np.__version__}, commit {commit or '?'}"
    )
    print(
        f"{'head':8} {'models':>6} {'tokens':>6} | {'tokenise':>8} {'embed':>6} {'features':>8} "
        f"{'score':>6} {'pick':>5} | {'total p50':>9} {'p99':>6}   microseconds"
    )
    rows = []
    for head in _HEADS:
        for n_models in _MODELS:
            with tempfile.TemporaryDirectory() as folder:
                artifact = _artifact(Path(folder), head=head, n_models=n_models)
            for n_tokens in _LENGTHS:
                row = _measure(artifact, n_tokens=n_tokens, rounds=options.rounds)
                row = {"head": head, "models": n_models, "tokens": n_tokens, **row}
                rows.append(row)
                print(
                    "{head:8} {models:6d} {tokens:6d} | {tokenise:8.0f} {embed:6.0f} "
                    "{features:8.0f} {score:6.0f} {pick:5.0f} | {total_p50:9.0f} "
                    "{total_p99:6.0f}".format(**row)
                )
    if options.json:
        options.json.write_text(json.dumps({"commit": commit, "rows": rows}, indent=1) + "\n")


def _prompt(n_tokens: int, rng: np.random.Generator) -> str:
    return " ".join(rng.choice(_TEXT.split(), size=n_tokens))


def _artifact(folder: Path, *, head: str, n_models: int) -> RouterArtifact:
    """Train a router on made-up outcomes."""
    rng = np.random.default_rng(0)
    data = folder / "outcomes.jsonl"
    with data.open("w") as file:
        for query in range(_TRAINING_ROWS):
            prompt = f"{query} {_prompt(40, rng)}"
            for model in range(n_models):
                outcome = {
                    "query_id": str(query),
                    "prompt": prompt,
                    "model": f"model-{model:02d}",
                    "quality": float(rng.random() < 0.3 + 0.6 * model / n_models),
                    "output_tokens": int(rng.lognormal(5, 0.5)),
                }
                file.write(json.dumps(outcome) + "\n")
    prices = folder / "prices.json"
    prices.write_text(
        json.dumps({f"model-{m:02d}": [0.1 * (m + 1), 0.3 * (m + 1)] for m in range(n_models)})
    )
    options = {"quality_head": {"kind": head}, "tokens_head": {"kind": "linear"}}
    report = fit(
        [data],
        folder / "artifact",
        recipe=Recipe(options=options, calibration_folds=2),
        created_at="",
        steelyard_version="",
        prices_file=prices,
    )
    return load_artifact(report.path)


def _measure(artifact: RouterArtifact, *, n_tokens: int, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    # A new prompt each round: no cache of ours or of the processor knows it beforehand.
    prompts = [Conversation.of(_prompt(n_tokens, rng)) for _ in range(rounds)]
    specs = [
        ModelSpec(
            model_id=model,
            predicted_as=model,
            prices=artifact.prices[model],
            context_window_tokens=128_000,
        )
        for model in artifact.models
    ]
    knob = artifact.knob_curve(specs)
    embedder = StaticEmbedder()
    folder = Path(fit.__code__.co_filename).parents[1] / "pretrained" / "static" / "vocab.txt"
    wordpiece = WordPiece(folder.read_text(encoding="utf-8").split("\n"))

    def total(prompt: Conversation) -> None:
        demand = Demand(
            input_tokens=estimate_tokens(prompt), input_tokens_upper=estimate_tokens_upper(prompt)
        )
        decide(
            candidates=specs,
            predictions=artifact.predict_conversations([prompt]),
            demand=demand,
            constraints=Constraints(),
            objective=CostQuality(0.5),
            knob=knob,
        )

    for prompt in prompts[:20]:
        total(prompt)
    demand = Demand(input_tokens=100, input_tokens_upper=120)
    stages: dict[str, list[float]] = {
        name: [] for name in ("tokenise", "embed", "features", "score", "pick", "total")
    }
    for prompt in prompts:
        text = prompt.messages[0].text
        stages["tokenise"].append(_us(lambda: wordpiece.ids(text[:3072])))
        stages["embed"].append(_us(lambda: embedder.encode([text])))
        stages["features"].append(_us(lambda: artifact.featurizer.transform([prompt])))
        x = artifact.featurizer.transform([prompt])
        stages["score"].append(_us(lambda: artifact.predict(x)))
        predictions = artifact.predict(x)
        stages["pick"].append(
            _us(
                lambda: decide(
                    candidates=specs,
                    predictions=predictions,
                    demand=demand,
                    constraints=Constraints(),
                    objective=CostQuality(0.5),
                    knob=knob,
                )
            )
        )
        stages["total"].append(_us(lambda: total(prompt)))
    medians = {name: statistics.median(values) for name, values in stages.items()}
    return {
        "tokenise": medians["tokenise"],
        "embed": medians["embed"] - medians["tokenise"],
        "features": medians["features"] - medians["embed"],
        "score": medians["score"],
        "pick": medians["pick"],
        "total_p50": medians["total"],
        "total_p99": _percentile(stages["total"], 0.99),
    }


def _us(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e6


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
