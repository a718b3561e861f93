"""A router that scores, from outcomes to answers: fit, gate, serve, explain, a further model."""

import io
import json

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from app.cli import main
from app.commands.explanation import explain
from routers.artifact.load import load_artifact
from routers.commands import fit, gate
from routers.gate.trial import prepare_trial
from routers.types import Conversation
from tests.integration.test_onboard import write_config
from tests.support.clusters import write_clusters
from tests.support.gateway import GatewayThread, stub_config
from tests.support.outcomes import write_outcomes
from tests.support.pair_routers import EASY, HARD, STRONG, WEAK, pair_config

RECIPE = """
strategy: graph
options: {n_steps: 80, n_axes: 32}
embedder: {kind: hashing, options: {dimensions: 128}}
blocks: [embedding, lexical]
calibration_folds: 2
"""


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hold outcomes, a recipe, descriptions, and `graph`, fitted on them."""
    folder = tmp_path_factory.mktemp("scoring")
    write_outcomes(folder / "train.parquet", n=300)
    (folder / "recipe.yaml").write_text(RECIPE)
    told = {"small": "a small model, good at sums", "large": {"description": "good at everything"}}
    (folder / "told.yaml").write_text(yaml.safe_dump({"models": told}))
    result = invoke(
        fit.command,
        *("--data", folder / "train.parquet", "--recipe", folder / "recipe.yaml"),
        *("--descriptions", folder / "told.yaml", "--out", folder / "graph"),
    )
    assert result.exit_code == 0, result.output
    return folder


def test_the_manifest_says_what_was_described(folder):
    artifact = load_artifact(folder / "graph")
    assert artifact.manifest["notes"]["descriptions"] is True
    assert artifact.manifest["training"]["descriptions"][1] == "good at everything"


def test_the_gate_fits_with_the_descriptions_of_the_training(folder, tmp_path):
    """What it judges of the training rows is what the training predicted of them out of fold."""
    data = write_clusters(tmp_path / "train.jsonl", n=300, seed=1)
    told = {"mini": "a small model", "mid": "middling, good at sums", "max": "good at everything"}
    (tmp_path / "told.yaml").write_text(yaml.safe_dump({"models": told}))
    options = ("--recipe", folder / "recipe.yaml", "--descriptions", tmp_path / "told.yaml")
    result = invoke(fit.command, "--data", data, *options, "--out", tmp_path / "graph")
    assert result.exit_code == 0, result.output
    trained = load_artifact(tmp_path / "graph").calibration.quality_predicted
    judged = prepare_trial(tmp_path / "graph", [data]).candidate.predictions.quality
    assert judged.shape == trained.shape
    apart = np.sort(judged, axis=0) - np.sort(trained, axis=0)
    assert np.abs(apart).max() < 0.001  # kept in half precision; .18 without descriptions


def test_descriptions_are_refused_where_nobody_reads_them(folder):
    result = invoke(
        fit.command,
        *("--data", folder / "train.parquet", "--strategy", "uniroute"),
        *("--descriptions", folder / "told.yaml", "--out", folder / "refused"),
    )
    assert "reads no descriptions" in str(result.exception or result.output)
    assert not (folder / "refused").exists()


def test_the_gate_judges_it_like_any_other(folder):
    result = invoke(
        gate.command,
        *("--artifact", folder / "graph", "--train", folder / "train.parquet"),
        *("--draws", 100, "--max-p50-ms", 1000, "--json"),
    )
    found = json.loads(result.stdout)
    checks = {check["name"]: check["verdict"] for check in found["checks"]}
    assert {"ZeroRouter", "kNN(k=100)", "guarded kNN"} <= checks.keys()
    assert checks["latency"] == checks["size"] == "passed"
    # Two models and three topics: so few rows may leave it open, and must not refuse it.
    assert result.exit_code in {0, 3}


@pytest.fixture(scope="module")
def config(folder, stub_thread):
    return stub_config(folder, stub_thread.origin, changes=pair_config(folder, ["graph"]))


def test_it_serves_and_explains_what_it_decides(folder, config):
    with GatewayThread(config) as gateway:
        found = {}
        for prompt in (EASY, HARD):
            body = {"model": "auto:graph", "messages": [{"role": "user", "content": prompt}]}
            for path in ("route", "chat/completions"):
                response = httpx.post(f"{gateway.url}/v1/{path}", json=body, trust_env=False)
                assert response.status_code == 200, response.text
                assert response.headers["x-route-model"] in {WEAK, STRONG}
            table = httpx.post(f"{gateway.url}/v1/route", json=body, trust_env=False).json()
            found[prompt] = {row["model"]: row["predicted_quality"] for row in table["candidates"]}
    # The small model can do the sums, and no poems; the large one can do both.
    assert found[EASY][WEAK] > found[HARD][WEAK] + 0.3
    assert found[HARD][STRONG] > found[HARD][WEAK] + 0.3
    shown = io.StringIO()
    explain(
        HARD,
        file=config.path,
        cost_quality=None,
        policy="graph",
        max_cost_usd=None,
        as_json=False,
        console=Console(file=shown, width=160),
    )
    assert STRONG in shown.getvalue()


@pytest.fixture
def steelyard(capsys):
    def run(*arguments):
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def edges(folder):
    """Write outcomes of a further model, which is good at what the small one is not."""
    table = pq.read_table(folder / "train.parquet").slice(0, 80)
    quality = [float(name == "poem") for name in table["benchmark"].to_pylist()]
    columns = {name: table[name] for name in ("query_id", "set", "benchmark", "prompt")}
    columns |= {"q:fresh": pa.array(quality, pa.float32()), "t:fresh": table["t:large"]}
    file = folder / "edges.parquet"
    pq.write_table(pa.table(columns), file)
    return file


@pytest.mark.parametrize("with_edges", [False, True], ids=["description", "edges"])
def test_a_further_model_joins_without_being_asked(folder, edges, steelyard, tmp_path, with_edges):
    config = write_config(tmp_path, "http://127.0.0.1:9/v1")
    out = tmp_path / "more"
    known = ("--edges", edges) if with_edges else ("--description", "good at poems")
    code, stdout, stderr = steelyard(
        *("onboard", "fresh", "--config", config, "--artifact", folder / "graph", "--out", out),
        *(*known, "--json"),
    )
    assert code == 0, stderr
    summary = json.loads(stdout)
    expected = ("abilities", 80) if with_edges else ("router", 0)
    assert (summary["rule"], summary["n_edges"]) == expected
    before, after = load_artifact(folder / "graph"), load_artifact(out)
    assert after.models == ("small", "large", "fresh")
    x = after.featurizer.transform([_said(EASY), _said(HARD)])
    found = after.predict(x)
    assert (found.quality[:, :2] == before.predict(x).quality).all()
    if with_edges:
        assert found.quality[1, 2] > found.quality[0, 2] + 0.1


def test_a_description_is_refused_by_a_router_that_reads_none(steelyard, tmp_path):
    config = write_config(tmp_path, "http://127.0.0.1:9/v1")
    code, _, stderr = steelyard(
        *("onboard", "fresh", "--config", config, "--out", tmp_path / "more"),
        *("--description", "good at poems"),
    )
    assert code != 0
    assert "reads no descriptions" in stderr


def test_outcomes_serve_any_router(steelyard, edges, tmp_path):
    config = write_config(tmp_path, "http://127.0.0.1:9/v1")
    code, stdout, stderr = steelyard(
        *("onboard", "fresh", "--config", config, "--out", tmp_path / "more"),
        *("--edges", edges, "--json"),
    )
    assert code == 0, stderr
    assert json.loads(stdout)["rule"] == "abilities"


def _said(prompt):
    return Conversation.of(prompt)
