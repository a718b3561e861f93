"""The files of docs/guides/train-your-own.md work as they stand there."""

import json
import re

import pytest
from click.testing import CliRunner

from app.cli import cli
from tests.support.gateway import REPOSITORY

PAGE = (REPOSITORY / "docs" / "guides" / "train-your-own.md").read_text(encoding="utf-8")


def blocks(language):
    """Return the pieces of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(*words):
    """Run a command, and return what it printed on standard output."""
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a working directory with the guide's files, with sixty such outcomes for its two."""
    monkeypatch.chdir(tmp_path)
    outcomes, prices = blocks("json")
    pair = [json.loads(line) for line in outcomes.splitlines()]
    lines = [
        {**each, "query_id": str(i), "prompt": f"Summarise letter {i} of {7 * i}."}
        for i in range(60)
        for each in pair
    ]
    (tmp_path / "outcomes.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    (tmp_path / "prices.json").write_text(prices)
    catalogue, configuration = [each for each in blocks("yaml") if "models:" in each]
    (tmp_path / "my-models.yaml").write_text(catalogue)
    (tmp_path / "my-gateway.yaml").write_text(configuration)
    return tmp_path


def test_what_the_guide_shows_is_fitted_and_served(folder):
    run(
        *("fit", "--data", "outcomes.jsonl", "--prices", "prices.json", "--recipe", "guarded-knn"),
        *("--out", "var/artifacts/mine"),
    )
    run("check-config", "--no-env", "my-gateway.yaml")
    told = run("explain", "Summarise letter 3.", "--config", "my-gateway.yaml")
    assert "small" in told
    assert "large" in told
    run(
        *("insert", "--artifact", "var/artifacts/mine", "--data", "outcomes.jsonl"),
        *("--out", "var/artifacts/mine-2"),
    )


def test_the_table_of_the_guide_is_read(folder):
    (folder / "outcomes.csv").write_text(blocks("csv")[0])
    convert = ("data", "convert", "--format", "wide", "--in", "outcomes.csv", "--out", "o.parquet")
    assert "4 outcomes on 2 queries, 2 models" in run(*convert)
