"""`insert` as a user runs it: what is remembered grows and shrinks, and nothing is fitted."""

import json
from pathlib import Path

import numpy as np
import pytest

import routers
from routers.artifact.load import load_artifact
from routers.commands import fit, insert
from routers.data.dataset import read_outcomes
from routers.errors import ArtifactError, DataError, RoutingConfigError
from tests.integration.test_evaluate_command import run
from tests.support.clusters import write_clusters

KNN = """
strategy: carrot
options:
  quality_head: {kind: knn, options: {n_neighbors: 20}}
  tokens_head: {kind: knn, options: {n_neighbors: 20}}
  shrink_unfamiliar: false
embedder: {kind: hashing, options: {dimensions: 96}}
calibration_folds: 2
"""
GUARDED = """
strategy: guarded-knn
embedder: {kind: hashing, options: {dimensions: 96}}
calibration_folds: 2
"""
DEFAULT = Path(routers.__file__).parent / "pretrained/default"
RECIPES = {"knn": KNN, "guarded": GUARDED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("insert")
    write_clusters(folder / "few.jsonl", n=150, seed=1)
    write_clusters(folder / "more.jsonl", n=500, seed=2)
    write_clusters(folder / "test.jsonl", n=300, seed=3)
    for name, recipe in RECIPES.items():
        (folder / f"{name}.yaml").write_text(recipe)
        options = ("--recipe", folder / f"{name}.yaml", "--out", folder / name)
        assert run(fit, "--data", folder / "few.jsonl", *options).exit_code == 0
    return folder


def predictions(artifact: Path, folder: Path) -> np.ndarray:
    table = read_outcomes([folder / "test.jsonl"])
    return load_artifact(artifact).predict_conversations(table.conversations).quality


def error(artifact: Path, folder: Path) -> float:
    table = read_outcomes([folder / "test.jsonl"])
    columns = [table.models.index(each) for each in load_artifact(artifact).models]
    return float(np.mean((predictions(artifact, folder) - table.quality[:, columns]) ** 2))


@pytest.mark.parametrize("kind", ["knn", "guarded"])
def test_inserted_outcomes_teach_and_forgotten_ones_no_longer_do(kind, folder, tmp_path):
    result = run(
        insert,
        *("--artifact", folder / kind, "--data", folder / "more.jsonl"),
        *("--out", tmp_path / "grown", "--json"),
    )
    told = json.loads(result.stdout)
    assert (told["n_inserted"], told["n_forgotten"], told["unknown_models"]) == (500, 0, [])
    assert error(tmp_path / "grown", folder) < error(folder / kind, folder) - 0.005
    before, after = load_artifact(folder / kind), load_artifact(tmp_path / "grown")
    assert after.version == told["version"] != before.version
    assert after.manifest["inserted"][0]["base_version"] == before.version
    assert after.manifest["knob"] == before.manifest["knob"]
    result = run(
        insert,
        *("--artifact", tmp_path / "grown", "--forget", folder / "more.jsonl"),
        *("--out", tmp_path / "again"),
    )
    assert "0 queries inserted, 500 forgotten" in result.stdout
    np.testing.assert_allclose(
        predictions(tmp_path / "again", folder), predictions(folder / kind, folder), atol=1e-6
    )
    assert len(load_artifact(tmp_path / "again").manifest["inserted"]) == 2


def test_outcomes_of_other_models_are_left_out_and_named(folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "more.jsonl").read_text().splitlines()]
    other = {"mini": "mini", "mid": "fresh", "max": "stranger"}
    lines = [json.dumps({**row, "model": other[row["model"]]}) for row in rows]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    arguments = ("--artifact", folder / "knn", "--data", tmp_path / "other.jsonl")
    result = run(insert, *arguments, "--out", tmp_path / "grown")
    assert "500 queries inserted" in result.stdout
    assert "does not predict them: fresh, stranger" in result.stdout
    lines = [line for line in lines if '"mini"' not in line]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"no outcome of any model .*onboard"):
        run(insert, *arguments, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_done_is_refused_and_nothing_written(folder, tmp_path):
    out, more = ("--out", tmp_path / "none"), folder / "more.jsonl"
    for option in ("--data", "--forget"):
        with pytest.raises(RoutingConfigError, match="by fitting alone"):
            run(insert, "--artifact", DEFAULT, option, more, *out)
    for kind in ("knn", "guarded"):
        with pytest.raises(DataError, match="left"):
            run(insert, "--artifact", folder / kind, "--forget", folder / "few.jsonl", *out)
    assert not (tmp_path / "none").exists()
    assert run(insert, "--artifact", folder / "knn", *out).exit_code == 2
    with pytest.raises(ArtifactError, match="holds an artifact already"):
        run(insert, "--artifact", folder / "knn", "--data", more, "--out", folder / "knn")
