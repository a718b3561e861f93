"""From policies of several calls to data with every asked model's answer, and back to a policy."""

import json

import httpx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli import cli
from routers.data.answers import read_answers
from routers.data.dataset import read_outcomes
from tests.support.gateway import GatewayThread, stub_config
from tests.support.several import JUDGE, LARGE, MINI, NANO, WORKFLOWS, Models, changes_for

N = 36
LETTERS = "ABCD"
RECIPE = """
strategy: carrot
options: {quality_head: {kind: linear}, tokens_head: {kind: linear}}
embedder: {kind: hashing, options: {dimensions: 16}}
blocks: [embedding, lexical]
abstain: false
workflow: {kind: cascade-routing}
calibration_folds: 2
"""
"""As `configs/training/cascade.yaml`, with smaller parts: that one takes minutes."""


def letter(i, model):
    """Return what a model answers to a question: cheap ones are wrong on a third, each apart."""
    wrong = {NANO: i % 3 == 0, MINI: i % 3 == 1, LARGE: False}[model]
    return LETTERS[(i + wrong) % 4]


def question(i):
    return f"Question {i} of many, secret-{i}: which one, (A), (B), (C) or (D)?"


def number_of(body):
    return int(body["messages"][-1]["content"].split("Question ")[1].split(" ")[0])


def says(model):
    return lambda body: f"The answer is ({letter(number_of(body), model)})."


def grade(body):
    """Grade 5 what the strong model would say, else 1."""
    right = f"({letter(number_of(body), LARGE)})"
    return "5" if right in body["messages"][-1]["content"].split("<answer-")[1] else "1"


@pytest.fixture(scope="module")
def folder(artifacts, tmp_path_factory):
    """Serve questions by three policies, and label what served."""
    folder = tmp_path_factory.mktemp("drafts")
    chosen = {name: WORKFLOWS[name] for name in ("agree", "cascade", "samples")}
    with Models() as models:
        models.reset()
        models.said |= {each: says(each) for each in (NANO, MINI, LARGE)} | {JUDGE: grade}
        changes = {
            **changes_for(models.url, chosen),
            "store.data_dir": "data",
            "outcomes.contents": {"enabled": True, "redact": [r"secret-\d+"]},
        }
        with (
            GatewayThread(
                stub_config(folder, models.url, changes=changes), artifacts=artifacts
            ) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client,
        ):
            for i in range(N):
                for model in ("auto:agree", NANO, MINI, LARGE):
                    ask(client, i, model)
            ask(client, 0, "auto:cascade")
            ask(client, 1, "auto:samples")
        models.release.set()
    return folder


def ask(client, i, model):
    body = {"model": model, "messages": [{"role": "user", "content": question(i)}]}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    right = f"({letter(i, LARGE)})" in answer.json()["choices"][0]["message"]["content"]
    label = {"decision_id": answer.headers["x-route-decision-id"], "score": float(right)}
    assert client.post("/v1/feedback", json=label).status_code == 200


def steelyard(*arguments):
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def exported(folder, out, *arguments):
    steelyard("export", "--config", folder / "gateway.yaml", "--out", out, *arguments)
    return out


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def of_policy(lines, policy):
    return [each for each in lines if each["policy"] == policy]


def test_every_asked_model_has_its_answer(folder, tmp_path):
    lines = lines_of(exported(folder, tmp_path / "data.jsonl", "--answers"))
    agreed = of_policy(lines, "agree")
    for i in range(N):
        (query,) = {
            each["query_id"] for each in agreed if f"Question {i} of" in str(each["messages"])
        }
        mine = {each["model"]: each for each in agreed if each["query_id"] == query}
        assert set(mine) == ({NANO, MINI, LARGE} if i % 3 < 2 else {NANO, MINI})
        for model, each in mine.items():
            assert each["text"] == f"The answer is ({letter(i, model)})."
            assert each["latency_s"] > 0
        served = [each for each in mine.values() if "role" not in each]
        assert [each["quality"] for each in served] == [1.0]
        others = [each for each in mine.values() if each.get("role") == "draft"]
        assert all(each["quality"] is None and each["cost_usd"] > 0 for each in others)
    assert "secret" not in json.dumps(lines)
    plain = lines_of(exported(folder, tmp_path / "plain.jsonl"))
    assert not any("role" in each for each in plain)


def test_what_judges_said_stands_beside_answers(folder, tmp_path):
    lines = of_policy(lines_of(exported(folder, tmp_path / "x.jsonl", "--answers")), "cascade")
    told = {each["model"]: each.get("judged") for each in lines}
    # On question 0 the first is wrong, so that the second serves: both were judged.
    assert told == {NANO: 0.0, MINI: 1.0}


@pytest.mark.parametrize("name", ["data.jsonl", "data.parquet"])
def test_several_answers_of_one_model_are_told_one_by_one(folder, tmp_path, name):
    path = exported(folder, tmp_path / name, "--answers")
    table = read_outcomes([path])
    answers = read_answers(table, [path])
    nano = answers.models.index(NANO)
    (row,) = [i for i, each in enumerate(table.conversations) if "Question 1 of" in str(each)]
    # Of `samples` three, of `agree` one, and by its own name.
    told = [answers, *answers.further]
    texts = [each.texts[row, nano] for each in told if each.texts is not None]
    assert [text for text in texts if text is not None] == ["The answer is (B)."] * 5
    assert table.quality[row, nano] == 1.0


def test_what_was_exported_becomes_a_policy_that_is_replayed(folder, tmp_path):
    data = exported(folder, tmp_path / "data.parquet", "--answers")
    names = set(pq.read_schema(data).names)
    assert {f"{family}:{model}" for family in "qxl" for model in (NANO, MINI, LARGE)} <= names
    out = tmp_path / "artifact"
    both = ("--data", data, "--answers", data)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    steelyard("fit", "--recipe", recipe, *both, "--out", out)
    told = steelyard("replay", "--artifact", out, *both, "--draws", 100, "--json")
    found = json.loads(told.stdout)
    assert found["n_compared"] == N
    policy = tmp_path / "policy.yaml"
    agreed = {**WORKFLOWS["agree"]}
    policy.write_text(json.dumps({"workflow": agreed, "candidates": [NANO, MINI, LARGE]}))
    told = steelyard("replay", "--policy", policy, *both, "--draws", 100, "--json")
    found = json.loads(told.stdout)
    assert found["positions"][0]["quality"]["value"] == pytest.approx(1.0)
    assert found["positions"][0]["calls"] == pytest.approx(2 + 2 / 3)
    assert found["latency"] == "recorded"
