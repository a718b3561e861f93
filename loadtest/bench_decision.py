"""Measure what one routing decision costs with every kind of router, stage by stage.

    python -m loadtest.bench_decision [--recipes NAMES] [--models 11] [--tokens 64,2000]
                                      [--prompts words] [--rounds 500] [--json FILE]
                                      [--markdown FILE]

Every row is one request decided alone on one thread, as the gateway does it: read the prompt into
features, score every model, pick one. The routers are the shipped one (`shipped`, with eleven of
its models), all recipes of `configs/training` and the strategies that need none. These are fitted
on 2,000 made-up prompts: the outcomes are drawn at random, so that the number of models can be
chosen, and cost does not depend on them. Stages and `cpu` are processor time of the one thread:
waiting for a core is not in it, but caches and cores that are shared with other work are. On a busy
machine `cpu_p5`, the 5th percentile, says most of the router. `p50` and `p99` are times by the
clock. Stages are medians, timed one after the other in the same
round: "features" are those beside the embedding, "pick" is what the total has beyond the others,
with the estimate of input tokens. What cannot be fitted here (an extra is missing) is named and
left out.

No time is asserted anywhere: the machine decides it. Compare ratios.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from app.assembly import DEFAULT_ARTIFACT
from loadtest.gateways import candidates
from loadtest.prompts import KINDS
from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.artifact.weights import WEIGHTS_FILE
from routers.base import ROUTERS
from routers.decision.decide import decide
from routers.embedders.base import make_embedder
from routers.errors import RoutingConfigError
from routers.models import Demand, ModelSpec
from routers.objectives import Constraints, CostQuality
from routers.text.token_estimate import estimate_tokens_and_upper
from routers.training.fit import fit
from routers.training.recipe import Recipe, read_recipe
from routers.types import Conversation

SHIPPED = "shipped"
_RECIPES = Path(__file__).parents[1] / "configs/training"
_WARM_UP = 20
_COLUMNS = ("embed", "features", "score", "pick", "cpu_p5", "cpu_p50", "cpu_p99", "p50", "p99")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and time every combination that was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", help="names, with commas; all when left out")
    parser.add_argument("--models", type=_numbers, default=[11], help="how many, with commas")
    parser.add_argument("--tokens", type=_numbers, default=[64, 2000], help="length of prompts")
    parser.add_argument("--prompts", default="words", help=f"out of: {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--train", type=int, default=2000, help="prompts to train on")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--markdown", type=Path, help="also write a table there")
    options = parser.parse_args(arguments)
    recipes = find_recipes()
    known = [SHIPPED, *recipes]
    names = known if options.recipes is None else options.recipes.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown recipes {', '.join(unknown)}; known: {', '.join(known)}")
    kinds = options.prompts.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"unknown prompts {', '.join(unknown)}; known: {', '.join(KINDS)}")
    about = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(
        f"{'recipe':22} {'models':>6} {'prompts':>8} {'tokens':>6} | "
        + _cells(_COLUMNS)
        + "   microseconds"
    )
    rows: list[dict[str, object]] = []
    for name in names:
        for n_models in options.models:
            try:
                artifact, models, size = (
                    _shipped(n_models)
                    if name == SHIPPED
                    else _fitted(recipes[name], n_models=n_models, n_train=options.train)
                )
            except RoutingConfigError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                break
            for kind, n_tokens in itertools.product(kinds, options.tokens):
                row = measure(
                    artifact,
                    n_tokens=n_tokens,
                    rounds=options.rounds,
                    prompts=KINDS[kind],
                    models=models,
                )
                print(
                    f"{name:22} {n_models:6} {kind:>8} {n_tokens:6} | "
                    + _cells(f"{row[c]:.0f}" for c in _COLUMNS)
                )
                rows.append(
                    {
                        "recipe": name,
                        "models": n_models,
                        "prompts": kind,
                        "tokens": n_tokens,
                        **row,
                        "weights_bytes": size,
                    }
                )
    about["load_after"] = round(os.getloadavg()[0], 2)
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    **about,
                    "rounds": options.rounds,
                    "train": options.train,
                    "unit": "us",
                    "rows": rows,
                },
                indent=1,
            )
            + "\n"
        )
    if options.markdown:
        options.markdown.write_text(_markdown(rows))


def find_recipes() -> dict[str, Recipe]:
    """Return the recipes of the repository, and one for each strategy that has none."""
    found = {path.stem: read_recipe(path) for path in sorted(_RECIPES.glob("*.yaml"))}
    missing = set(ROUTERS.kinds()) - {recipe.strategy for recipe in found.values()}
    return found | {kind: Recipe(strategy=kind, blocks=("lexical",)) for kind in sorted(missing)}


def measure(
    artifact: RouterArtifact,
    *,
    n_tokens: int,
    rounds: int,
    prompts: Callable[[int, np.random.Generator], Conversation] = KINDS["words"],
    models: Iterable[tuple[str, str]] | None = None,
) -> dict[str, float]:
    """Return the medians of every stage and the 99th percentile of the total, in microseconds.

    Parameters
    ----------
    models
        Names of the candidates and what each is predicted as; all of the artifact when None.
    """
    rng = np.random.default_rng(1)
    # A new prompt for every look: no cache of ours or of the processor knows it beforehand.
    looks = [[prompts(n_tokens, rng) for _ in range(4)] for _ in range(_WARM_UP + rounds)]
    specs = [
        ModelSpec(
            model_id=name,
            predicted_as=model,
            prices=artifact.prices[model],
            context_window_tokens=128_000,
        )
        for name, model in models or [(each, each) for each in artifact.models]
    ]
    columns = tuple(artifact.column(spec.predicted_as) for spec in specs)
    knob = artifact.knob_curve(specs)
    schema = artifact.featurizer.schema
    embedder = make_embedder(schema.embedder, schema.embedder_options)
    embeds = "embedding" in schema.blocks

    def pick(prompt: Conversation, x: np.ndarray) -> None:
        tokens, upper = estimate_tokens_and_upper(prompt)
        decide(
            candidates=specs,
            predictions=artifact.predict(x).columns(columns),
            demand=Demand(input_tokens=tokens, input_tokens_upper=upper),
            constraints=Constraints(),
            objective=CostQuality(0.5),
            knob=knob,
        )

    stages = ("embed", "features", "score", "cpu", "clock")
    times: dict[str, list[float]] = {name: [] for name in stages}
    for first, second, third, fourth in looks:
        text, x = first.messages[0].text, artifact.featurizer.transform([second])
        times["embed"].append(_us(lambda text=text: embedder.encode([text])) if embeds else 0.0)
        times["features"].append(_us(lambda each=third: artifact.featurizer.transform([each])))
        times["score"].append(_us(lambda x=x: artifact.predict(x)))
        began = time.perf_counter()
        times["cpu"].append(
            _us(lambda each=fourth: pick(each, artifact.featurizer.transform([each])))
        )
        times["clock"].append((time.perf_counter() - began) * 1e6)
    kept = {name: values[-rounds:] for name, values in times.items()}
    medians = {name: statistics.median(values) for name, values in kept.items()}
    return {
        "embed": medians["embed"],
        "features": medians["features"] - medians["embed"],
        "score": medians["score"],
        "pick": medians["cpu"] - medians["features"] - medians["score"],
        "cpu_p5": _percentile(kept["cpu"], 0.05),
        "cpu_p50": medians["cpu"],
        "cpu_p99": _percentile(kept["cpu"], 0.99),
        "p50": medians["clock"],
        "p99": _percentile(kept["clock"], 0.99),
    }


def _shipped(n_models: int) -> tuple[RouterArtifact, list[tuple[str, str]], int]:
    size = (DEFAULT_ARTIFACT / WEIGHTS_FILE).stat().st_size
    return load_artifact(DEFAULT_ARTIFACT), list(candidates(n_models)), size


def _fitted(recipe: Recipe, *, n_models: int, n_train: int) -> tuple[RouterArtifact, None, int]:
    with tempfile.TemporaryDirectory() as folder:
        artifact = _artifact(Path(folder), recipe=recipe, n_models=n_models, n_train=n_train)
        return artifact, None, (Path(folder) / "artifact" / WEIGHTS_FILE).stat().st_size


def _artifact(folder: Path, *, recipe: Recipe, n_models: int, n_train: int) -> RouterArtifact:
    """Train a router on made-up outcomes."""
    rng = np.random.default_rng(0)
    data = folder / "outcomes.jsonl"
    with data.open("w") as file:
        for query in range(n_train):
            prompt = f"{query} {KINDS['words'](40, rng).messages[0].text}"
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
    report = fit(
        [data],
        folder / "artifact",
        recipe=recipe.model_copy(update={"calibration_folds": 2}),
        created_at="",
        steelyard_version="",
        prices_file=prices,
    )
    return load_artifact(report.path)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _cells(values: Iterable[str]) -> str:
    return " ".join(f"{value:>9}" for value in values)


def _markdown(rows: Sequence[Mapping[str, object]]) -> str:
    head = ["recipe", "models", "prompts", "tokens", *_COLUMNS, "weights kB"]
    lines = [f"| {' | '.join(head)} |".replace("_", " "), "|---|" + "--:|" * (len(head) - 1)]
    for row in rows:
        cells = [str(row[key]) for key in ("recipe", "models", "prompts", "tokens")]
        cells += [f"{row[column]:,.0f}" for column in _COLUMNS]
        cells.append(f"{int(str(row['weights_bytes'])) / 1000:,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def describe_machine() -> dict[str, object]:
    """Return what timings depend on: processor, versions, commit, load."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": commit or "?",
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _us(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e6


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
