"""`steelyard prior`: published results in, an artifact that a gateway can serve out."""

import json

import numpy as np
import pytest

from app.cli import main
from routers.artifact.load import load_artifact
from routers.types import Conversation
from tests.support.gateway import CONFIGS, write_yaml

TRIVIAL, DEMANDING = "What is the capital of France?", "Prove that sqrt(2) is irrational"
SOURCE = {"source": "a leaderboard", "date": "2026-01-01"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a leaderboard of a few models, their prices, and prompts for the knob."""
    folder = tmp_path_factory.mktemp("prior")
    benchmarks = {
        "know": {"facet": "knowledge", "guess": 0.25, "level": 3.5, "about": "questions"},
        "sums": {"facet": "mathematics", "guess": 0, "level": 4, "about": "sums"},
    }
    scores = {"tiny": (45, 20), "medium": (70, 50), "huge": (86, 80), "best": (90, 90)}
    models = {
        name: {
            "developer": "somebody",
            "open_weights": False,
            "scores": [
                {"benchmark": "know", "score": know, **SOURCE},
                {"benchmark": "sums", "score": sums, **SOURCE},
            ],
        }
        for name, (know, sums) in scores.items()
    }
    models["best"]["aliases"] = ["best-2026-01"]
    models["unheard-of"] = {"developer": "somebody", "open_weights": True, "scores": []}
    document = {"benchmarks": benchmarks, "models": models}
    write_yaml(folder / "abilities.yaml", document)
    usd = {"tiny": 0.2, "medium": 2, "huge": 15, "best-2026-01": 30, "provider/tiny": 0.1, "x": 9}
    catalogue = {
        name: {"prices": {"input_usd_per_mtok": each / 4, "output_usd_per_mtok": each}}
        for name, each in usd.items()
    }
    write_yaml(folder / "models.yaml", {"models": catalogue})
    lines = (CONFIGS / "graded_prompts" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "prompts.jsonl").write_text("\n".join(lines[::16]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def prior(folder, capsys):
    """Run the command in this process; options replace those that work."""

    def prior(out, *flags, **options):
        given = {
            "abilities": folder / "abilities.yaml",
            "catalogue": folder / "models.yaml",
            "prompts": folder / "prompts.jsonl",
            **options,
        }
        arguments = [str(each) for name, value in given.items() for each in (f"--{name}", value)]
        code = 0
        try:
            main(["prior", *arguments, "--out", str(out), *flags])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return prior


@pytest.fixture
def made(prior, tmp_path):
    out = tmp_path / "router"
    code, stdout, stderr = prior(out)
    assert code == 0, stderr
    return out, stdout


def predicted(artifact, *prompts):
    return artifact.predict_conversations([Conversation.of(prompt) for prompt in prompts])


def test_the_artifact_loads_and_predicts_its_models(made):
    out, stdout = made
    artifact = load_artifact(out)
    names = {"tiny", "medium", "huge", "best", "unheard-of", "best-2026-01", "provider/tiny"}
    assert set(artifact.models) == names
    assert f"{out}: {len(names)} models, version {artifact.version}" in stdout
    quality = predicted(artifact, TRIVIAL, DEMANDING).quality
    assert quality.shape == (2, len(names))
    at = artifact.models.index
    trivial, demanding = (row[at("best")] - row[at("tiny")] for row in quality)
    assert trivial < 0.1
    assert demanding > trivial + 0.2
    # A name of the catalogue is predicted as the model that it means.
    np.testing.assert_array_equal(quality[:, at("best")], quality[:, at("best-2026-01")])
    np.testing.assert_array_equal(quality[:, at("tiny")], quality[:, at("provider/tiny")])


def test_models_that_nothing_is_known_of_are_named(made):
    _, stdout = made
    assert "by price and date only: unheard-of\n" in stdout
    assert "no price known: unheard-of\n" in stdout


def test_less_is_known_of_models_without_scores(made):
    artifact = load_artifact(made[0])
    std = predicted(artifact, DEMANDING).quality_std[0]
    assert std[artifact.models.index("unheard-of")] > std[artifact.models.index("best")]


def test_the_manifest_says_where_it_comes_from(made):
    manifest = json.loads((made[0] / "manifest.json").read_text(encoding="utf-8"))
    assert "prior" in json.dumps(manifest)
    assert "unheard-of" in json.dumps(manifest)
    assert [each["file"] for each in manifest["data"]] == ["abilities.yaml", "prompts.jsonl"]


def test_the_same_files_give_the_same_predictions(made, prior, tmp_path):
    code, _, stderr = prior(tmp_path / "again")
    assert code == 0, stderr
    first, second = (load_artifact(each) for each in (made[0], tmp_path / "again"))
    assert first.models == second.models
    before, after = (predicted(each, TRIVIAL, DEMANDING) for each in (first, second))
    np.testing.assert_array_equal(before.quality, after.quality)


def test_an_artifact_is_replaced_on_demand_only(made, prior):
    out, _ = made
    code, _, stderr = prior(out)
    assert code == 2
    assert "holds an artifact already" in stderr
    assert prior(out, "--overwrite")[0] == 0


@pytest.mark.parametrize("option", ["abilities", "catalogue", "prompts"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        ("", ""),
        ("{]", ""),
        ("- a\n- b\n", ""),
        ("models: 3\n", ""),
        ("models: {a: {}}\n", ""),
        ("models: {tiny: {prices: {output_usd_per_mtok: -1}}}\n", ""),
        ("models: {tiny: {prices: {output_usd_per_mtok: cheap}}}\n", ""),
        ("models: {tiny: {prices: {output_usd_per_mtok: .nan}}}\n", ""),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(prior, tmp_path, option, content, reason):
    file = tmp_path / "given.yaml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    code, stdout, stderr = prior(tmp_path / "router", **{option: file})
    assert code == 2, stderr
    assert stdout == ""
    said = [line for line in stderr.splitlines() if line.startswith("steelyard: ")]
    assert stderr.splitlines()[-1:] == said
    assert reason in said[0]
    assert "given.yaml" in said[0] or "--prompts" in said[0]
    assert not (tmp_path / "router").exists()


def test_no_prompts_is_an_empty_file_name(prior, tmp_path):
    code, _, stderr = prior(tmp_path / "router", prompts="")
    assert code == 2
    assert stderr.splitlines()[-1].startswith("steelyard: ")
