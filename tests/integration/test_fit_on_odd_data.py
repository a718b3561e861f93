"""`fit` on files as people have them: read, warned of, or refused before any long work."""

import json

import pytest
from click.testing import CliRunner

from app.cli import cli

RECIPE = """
strategy: carrot
options: {quality_head: {kind: linear}}
embedder: {kind: hashing, options: {dimensions: 16}}
blocks: [embedding, lexical]
calibration_folds: 2
"""


@pytest.fixture
def fit(tmp_path):
    """Return what runs `fit` on rows of a CSV file."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "prices.json").write_text(json.dumps({"a": [1, 2], "b": [3, 4]}))

    def fit(rows, *options, recipe=None, header="prompt,q:a,q:b"):
        if recipe is not None:
            (tmp_path / "recipe.yaml").write_text(recipe)
        (tmp_path / "data.csv").write_text("\n".join([header, *rows]))
        files = ("--data", tmp_path / "data.csv", "--prices", tmp_path / "prices.json")
        if "--recipe" not in options:
            options = (*options, "--recipe", tmp_path / "recipe.yaml")
        out = () if "--out" in options else ("--out", tmp_path / "router")
        return CliRunner().invoke(cli, ["fit", *map(str, (*files, *out, *options))])

    return fit


def rows(n, *, a=lambda i: i % 2, b=lambda i: 1 - i % 2):
    return [f"{'odd' if i % 2 else 'even'} prompt {i},{a(i)},{b(i)}" for i in range(n)]


def test_a_csv_is_learned_from_and_few_rows_are_told(fit, tmp_path):
    result = fit(rows(40))
    assert result.exit_code == 0, result.output
    assert "40 queries, 80 outcomes, 2 models" in result.stdout
    assert "WARNING: 40 queries are few" in result.stdout
    batch = ["route-batch", "--artifact", tmp_path / "router", "--data", tmp_path / "data.csv"]
    batch += ["--cost-quality", "0.5", "--out", tmp_path / "routed.parquet"]
    assert CliRunner().invoke(cli, list(map(str, batch))).exit_code == 0


def test_what_cannot_be_routed_is_told_on_screen_in_json_and_by_the_report(fit, tmp_path):
    result = fit(rows(40, a=lambda _: 1, b=lambda i: i % 2), "--json")
    (told,) = json.loads(result.stdout)["doubts"]
    assert told == "a is never beaten on any query: a router can save costs, and no more"
    options = ["--artifact", tmp_path / "router", "--data", tmp_path / "data.csv"]
    judged = CliRunner().invoke(cli, ["evaluate", *map(str, options), "--draws", "100", "--json"])
    assert f"WARNING: {told}." in json.loads(judged.stdout)["notes"]


def test_one_id_with_two_prompts_is_told(fit):
    twice = [f"{i // 2},{row}" for i, row in enumerate(rows(40))]
    result = fit(twice, header="query_id,prompt,q:a,q:b")
    assert "WARNING: 20 query_ids stand with different prompts" in result.stdout


WRONG = RECIPE.replace("{kind: linear}", "{kind: linear, options: {alhpa: 3}}")
DEEP = RECIPE.replace(
    "linear", "by-rows, options: {few: {kind: ensemble, options: {weights: [1]}}}"
)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (WRONG, "option 'alhpa' of head 'linear'"),
        (DEEP, "an ensemble of 2 members has 1 weights"),
        (RECIPE.replace("kind: linear", "kind: liner"), "unknown head 'liner'"),
        (RECIPE.replace("lexical", "lexcal"), "lexcal"),
        (RECIPE + "workflow: {kind: cascad}\n", "unknown workflow 'cascad'"),
    ],
)
def test_a_wrong_option_is_found_before_any_work(fit, tmp_path, recipe, message):
    result = fit(rows(40), recipe=recipe)
    assert message in str(result.exception), result.output
    assert "reading outcomes" not in result.output
    assert not (tmp_path / "router").exists()


def test_an_unknown_recipe_is_told_which_there_are(fit):
    result = fit(rows(40), "--recipe", "carrot-mpl")
    assert "unknown recipe 'carrot-mpl'; known: " in str(result.exception)
    assert "carrot-mlp" in str(result.exception)


def test_a_folder_that_holds_an_artifact_is_replaced_by_force_alone(fit, tmp_path):
    assert fit(rows(40)).exit_code == 0
    before = (tmp_path / "router" / "manifest.json").read_bytes()
    again = fit(rows(44))
    assert "holds an artifact already" in str(again.exception)
    assert "reading outcomes" not in again.output
    assert (tmp_path / "router" / "manifest.json").read_bytes() == before
    assert fit(rows(44), "--force").exit_code == 0
    assert (tmp_path / "router" / "manifest.json").read_bytes() != before
    for out in (tmp_path / "data.csv", tmp_path / "data.csv" / "router"):
        refused = fit(rows(40), "--out", out, "--force")
        assert "data.csv is a file" in str(refused.exception)
        assert "reading outcomes" not in refused.output


def test_too_few_prompts_for_the_folds_are_refused_before_embedding(fit):
    result = fit(["same,1,0"] * 30)
    assert "1 different prompts cannot be split into 2 folds" in str(result.exception)
    assert "embedding" not in result.output
