"""What `fit` says of its own numbers: thin data, rough prices, simple rules that do as well."""

import json

import numpy as np
from click.testing import CliRunner

from app.cli import cli
from routers.artifact.load import load_artifact
from routers.types import Conversation

RECIPE = """
strategy: carrot
options: {quality_head: {kind: linear}}
embedder: {kind: hashing, options: {dimensions: 16}}
blocks: [embedding, lexical]
calibration_folds: 3
"""
TOPICS = ("alpha beta", "gamma delta")
ALIKE = ((0.4, 0.7), (0.4, 0.7))


def fit(folder, *, n, chance, cost):
    """Fit two models on `n` prompts; return what is printed.

    `chance[topic]` is that of the two to be right, `cost(rng, tokens)` what an answer costs.
    """
    rng = np.random.default_rng(0)
    with (folder / "data.jsonl").open("w") as file:
        for i in range(n):
            topic, words = int(rng.integers(2)), int(rng.integers(3, 40))
            text = " ".join(
                [TOPICS[topic], *(f"w{rng.integers(99)}" for _ in range(words)), str(i)]
            )
            for model, right in zip(("small", "large"), chance[topic], strict=True):
                tokens = int(rng.integers(40, 60))
                record = {
                    "query_id": str(i),
                    "prompt": text,
                    "model": model,
                    "quality": float(rng.random() < right),
                    "output_tokens": tokens,
                    "cost_usd": cost(rng, tokens) * (1 if model == "small" else 20),
                }
                file.write(json.dumps(record) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    result = CliRunner().invoke(
        cli,
        [
            *("fit", "--data", str(folder / "data.jsonl"), "--out", str(folder / "router")),
            *("--recipe", str(folder / "recipe.yaml")),
        ],
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def by_tokens(rng, tokens):
    del rng
    return 1e-6 * tokens


def test_where_the_query_tells_nothing_simple_rules_are_said_to_be_as_good(tmp_path):
    told = fit(tmp_path, n=90, chance=ALIKE, cost=by_tokens)
    assert "WARNING: 90 queries are few" in told
    assert "prompt length is" in told.split("over prompt length")[1].splitlines()[0]
    assert "mixing is" in told.split("over mixing")[1].splitlines()[0]
    assert "prices per token" not in told
    metrics = json.loads((tmp_path / "router" / "manifest.json").read_text())["metrics"]
    for key in ("aiq_over_zero", "aiq_over_prompt_length"):
        assert metrics[key]["low"] <= metrics[key]["value"] <= metrics[key]["high"]


def test_costs_that_do_not_follow_from_tokens_are_told(tmp_path):
    told = fit(
        tmp_path,
        n=90,
        chance=ALIKE,
        cost=lambda rng, tokens: float(1e-6 * tokens * rng.choice([0.2, 3])),
    )
    assert "prices per token miss the recorded costs of" in told
    assert "small by" in told
    manifest = json.loads((tmp_path / "router" / "manifest.json").read_text())
    assert manifest["training"]["price_fit_error"]["small"] > 0.1


def test_a_router_that_knows_more_than_the_length_is_said_to_be_above_it(tmp_path):
    told = fit(
        tmp_path,
        n=400,
        chance=((0.9, 0.9), (0.1, 0.9)),
        cost=by_tokens,
    )
    assert "are few" not in told
    line = told.split("over prompt length")[1].splitlines()[0]
    assert "as good" not in line
    assert "better" not in line


def test_a_router_that_learned_nothing_abstains_and_says_so(tmp_path):
    told = fit(tmp_path, n=200, chance=((0.3, 0.8), (0.3, 0.8)), cost=by_tokens)
    assert "the router abstains: on held-out rows its recipe did no better than mixing" in told
    manifest = json.loads((tmp_path / "router" / "manifest.json").read_text())
    assert manifest["training"]["abstains"] == "random-mix"
    assert manifest["metrics"]["aiq_over_simpler"]["random-mix"]["value"] < 0
    # The recipe stays what it was, so that the gate judges it; what is served is another thing.
    assert manifest["training"]["recipe"]["strategy"] == "carrot"
    assert manifest["strategy"]["kind"] == "random-mix"
    artifact = load_artifact(tmp_path / "router")
    predicted = artifact.predict_conversations([Conversation.of(t) for t in ("alpha", "delta x")])
    assert (predicted.quality[:, 0] < predicted.quality[:, 1]).all()
    explained = CliRunner().invoke(cli, ["explain", "alpha", "--config", str(_serving(tmp_path))])
    assert "the router abstains" in " ".join(explained.stdout.split()), explained.output


def test_a_router_that_tells_queries_apart_does_not_abstain(tmp_path):
    told = fit(tmp_path, n=300, chance=((0.9, 0.9), (0.1, 0.9)), cost=by_tokens)
    assert "abstains" not in told
    manifest = json.loads((tmp_path / "router" / "manifest.json").read_text())
    assert manifest["training"]["abstains"] is None
    assert manifest["metrics"]["aiq_over_simpler"]["random-mix"]["low"] > 0
    explained = CliRunner().invoke(cli, ["explain", "alpha", "--config", str(_serving(tmp_path))])
    assert explained.exit_code == 0, explained.output
    assert "abstains" not in explained.stdout


def _serving(folder):
    """Write a configuration that serves the router of the folder."""
    facts = "".join(
        f"  {name}: {{prices: {{input_usd_per_mtok: {usd}, output_usd_per_mtok: {usd}, "
        "source: a test, date: 2026-11-01}, context_window_tokens: 8000}\n"
        for name, usd in (("small", 1), ("large", 20))
    )
    (folder / "models.yaml").write_text(f"models:\n{facts}")
    file = folder / "gateway.yaml"
    file.write_text(
        "catalogue: models.yaml\n"
        "upstreams: {up: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}}\n"
        "models: {small: {upstream: up}, large: {upstream: up}}\n"
        f"routers: {{mine: {{artifact: {folder / 'router'}}}}}\n"
        "policies: {default: {router: mine, candidates: [small, large], default_model: small}}\n"
    )
    return file
