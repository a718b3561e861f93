"""From traffic and labels to a trained router: the whole way round."""

import json
import random

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli import cli, main
from app.outcomes.export import sqlite_log, write
from app.outcomes.parquet import write_rows
from routers.artifact.load import load_artifact
from routers.data.answers import read_answers
from routers.data.dataset import read_outcomes
from routers.errors import DataError
from tests.support.gateway import GatewayThread, stub_config
from tests.support.outcomes import TOPICS

CONTENTS = {"store.data_dir": "data", "outcomes.contents": {"enabled": True}}
MODELS = {"sim-nano": "llama-3.1-8b-instruct", "sim-frontier": "claude-opus-5-5"}
RECIPE = """
strategy: carrot
options:
  quality_head: {kind: knn, options: {n_neighbors: 20}}
  tokens_head: {kind: linear}
embedder: {kind: hashing, options: {dimensions: 64}}
blocks: [embedding, lexical]
calibration_folds: 3
"""


def served(directory, stub, artifacts, changes, work):
    """Serve, and have a client make traffic; return what it made of it."""
    config = stub_config(directory, stub.origin, changes=changes)
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False) as client,
    ):
        return work(client)


def ask(client, prompt, model="auto", **body):
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    answer = client.post(
        "/v1/chat/completions", json={"model": model, "messages": messages, **body}
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["x-route-decision-id"]


def label(client, **body):
    answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == 200, answer.text


def export(directory, *args):
    """Run the command on the configuration of a folder."""
    out = directory / "out" / "data.jsonl"
    args = [*args] if "--out" in args else ["--out", str(out), *args]
    return CliRunner().invoke(
        cli, ["export", "--config", str(directory / "gateway.yaml"), *map(str, args)]
    )


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def labelled(stub_thread, artifacts, tmp_path_factory):
    """Return a folder with the log of 240 labelled requests: two models on 120 prompts."""
    directory = tmp_path_factory.mktemp("labelled")
    stub_thread.reset()
    rng = random.Random(0)

    def traffic(client):
        for i in range(120):
            topic = list(TOPICS)[i % 3]
            prompt = TOPICS[topic].format(rng.randrange(10_000), rng.randrange(10_000))
            for model in MODELS:
                easy = topic == "sum" or model == "sim-frontier"
                decision_id = ask(client, prompt, routing={"models": [model]})
                label(client, decision_id=decision_id, thumbs="up" if easy else "down")

    served(directory, stub_thread, artifacts, CONTENTS, traffic)
    (directory / "recipe.yaml").write_text(RECIPE)
    return directory


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_was_served_and_labelled_trains_a_router_that_loads(labelled, tmp_path, suffix):
    data, artifact = tmp_path / f"data{suffix}", tmp_path / "artifact"
    result = export(labelled, "--out", data, "--since", "1d", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["rows"], summary["queries"]) == (240, 120)
    assert summary["models"] == dict.fromkeys(MODELS, 120)
    main_args = ["fit", "--data", data, "--out", artifact, "--recipe", labelled / "recipe.yaml"]
    fitted = CliRunner().invoke(cli, [str(each) for each in main_args])
    assert fitted.exit_code == 0, fitted.output
    loaded = load_artifact(artifact)
    assert set(loaded.models) == set(MODELS)
    predicted = loaded.predict_conversations(read_outcomes([data]).conversations)
    nano = loaded.column("sim-nano")
    topics = [list(TOPICS)[i % 3] for i in range(120)]
    good = [predicted.quality[i, nano] for i, topic in enumerate(topics) if topic == "sum"]
    bad = [predicted.quality[i, nano] for i, topic in enumerate(topics) if topic != "sum"]
    assert min(good) > max(bad)  # it learned what the labels say
    # The configuration that made the data can serve what was made of it, although its models say
    # that they are predicted as others: the artifact knows them by their own names.
    config = stub_config(
        tmp_path,
        "http://127.0.0.1:9",
        changes={
            "routers": {"own": {"artifact": str(artifact)}},
            "policies": {
                "default": {
                    "router": "own",
                    "candidates": list(MODELS),
                    "default_model": "sim-nano",
                }
            },
        },
    )
    with GatewayThread(config) as gateway:
        decided = httpx.post(
            f"{gateway.url}/v1/route",
            json={
                "model": "auto",
                "messages": [{"role": "user", "content": TOPICS["sum"].format(1, 2)}],
            },
            headers={"x-route-max-quality-loss": "0.1"},
            trust_env=False,
        )
    assert decided.json()["model"] == "sim-nano"


def test_rows_tell_what_off_policy_evaluation_needs(labelled):
    result = export(labelled)
    assert result.exit_code == 0, result.output
    rows = rows_of(labelled / "out" / "data.jsonl")
    row = rows[0]
    assert row["propensity"] == 1.0
    assert row["model"] == row["served_model_id"] == "sim-nano"
    assert row["predicted_as"] == MODELS["sim-nano"]
    assert row["candidates"]["model"][0] == "sim-nano"
    assert row["objective"] == {"cost_quality": 0.8}
    assert row["label"] == "thumbs"
    assert row["cost_usd"] > 0
    assert row["key_id"] == "anonymous"
    assert "answer" not in row
    assert (labelled / "out" / "data.jsonl").stat().st_mode & 0o077 == 0


def test_rows_go_by_the_names_of_the_artifact_where_that_is_asked_for(labelled):
    result = export(labelled, "--as-predicted", "--json")
    assert json.loads(result.stdout)["models"] == dict.fromkeys(MODELS.values(), 120)


def test_two_models_that_are_predicted_as_one_stay_two(stub, artifacts, tmp_path):
    one = {"predicted_as": "gpt-4-1106-preview"}

    def traffic(client):
        for model in MODELS:
            label(client, decision_id=ask(client, "Which one?", model=model), thumbs="up")

    changes = CONTENTS | {f"models.{model}.predicted_as": one["predicted_as"] for model in MODELS}
    served(tmp_path, stub, artifacts, changes, traffic)
    assert json.loads(export(tmp_path, "--json").stdout)["models"] == dict.fromkeys(MODELS, 1)
    together = json.loads(export(tmp_path, "--as-predicted", "--json").stdout)
    assert together["models"] == {one["predicted_as"]: 2}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_every_position_and_kind_of_knob_can_be_exported(stub, artifacts, tmp_path, suffix):
    """At 1 a unit of quality is worth any number of dollars, which JSON cannot say."""
    knobs = [{"cost_quality": t} for t in (0, 0.5, 1)]
    knobs += [{"lambda": 0}, {"max_quality_loss": 0.1}, {"min_quality": 1}]

    def traffic(client):
        for i, knob in enumerate(knobs):
            decision_id = ask(client, f"Question {i}", routing=knob)
            label(client, decision_id=decision_id, score=0.5)

    served(tmp_path, stub, artifacts, CONTENTS, traffic)
    out = tmp_path / f"data{suffix}"
    result = export(tmp_path, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == len(knobs)
    assert len(read_outcomes([out])) == len(knobs)
    if suffix == ".jsonl":
        rows = rows_of(out)
        assert [row["objective"] for row in rows] == knobs
        assert rows[0]["usd_per_quality"] == 0
        assert rows[2]["usd_per_quality"] is None
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_export_that_fails_leaves_what_was_there(tmp_path, suffix):
    def records():
        yield {"query_id": "1", "prompt": "p", "model": "m", "quality": 0.5}
        raise OSError(28, "No space left on device")

    out = tmp_path / f"data{suffix}"
    for before in (None, b"of last week"):
        if before is not None:
            out.write_bytes(before)
        with pytest.raises(DataError, match="No space left"):
            write(records(), out)
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [before] * (before is not None)


def test_a_folder_of_collected_rows_needs_no_configuration(labelled, tmp_path, monkeypatch):
    log = sqlite_log(labelled / "data", since=0, until=float("inf"))
    write_rows(tmp_path / "log", "outcomes", log.outcomes, name="a")
    write_rows(tmp_path / "log", "labels", log.labels, name="a")
    log.contents.close()
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "--from", "log", "--out", "data.jsonl", "--without-prompts"]
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["models"] == dict.fromkeys(MODELS, 120)
    refused = CliRunner().invoke(cli, [*arguments, "--as-predicted"])
    assert refused.exit_code == 2
    assert "--config" in refused.output


def test_a_damaged_file_of_collected_rows_is_one_line(labelled, tmp_path):
    log = sqlite_log(labelled / "data", since=0, until=float("inf"))
    write_rows(tmp_path / "log", "outcomes", log.outcomes, name="a")
    log.contents.close()
    place = next((tmp_path / "log" / "outcomes").iterdir())
    arguments = ["export", "--from", str(tmp_path / "log"), "--out", str(tmp_path / "data.jsonl")]
    good = (place / "a.parquet").read_bytes()
    for damaged in (b"", good[:-20], good[: len(good) // 2] + bytes(400) + good[-8:]):
        (place / "a.parquet").write_bytes(damaged)
        assert isinstance(CliRunner().invoke(cli, arguments).exception, DataError)
    pq.write_table(pa.table({"decision_id": [1, 2]}), place / "a.parquet")
    assert "holds no outcomes" in str(CliRunner().invoke(cli, arguments).exception)
    assert not (tmp_path / "data.jsonl").exists()


def test_times_bound_what_is_exported(labelled):
    assert "nothing to export" in str(export(labelled, "--until", "2020-01-01").exception)
    result = export(labelled, "--since", "2020-01-01", "--until", "2099-01-01T00:00:00Z", "--json")
    assert json.loads(result.stdout)["rows"] == 240
    assert export(labelled, "--since", "yesterday").exit_code == 2


def test_no_key_alone_is_all_that_is_learned_from(labelled):
    result = export(labelled, "--most-per-key", "50", "--json")
    summary = json.loads(result.stdout)
    assert (summary["rows"], summary["over_share"]) == (50, 190)
    newest = rows_of(labelled / "out" / "data.jsonl")
    assert newest == sorted(newest, key=lambda row: row["time"])


def test_without_the_texts_it_says_why_in_one_line(stub, artifacts, tmp_path, capsys):
    def traffic(client):
        label(client, decision_id=ask(client, "What is a steelyard?"), score=1)

    served(tmp_path, stub, artifacts, {"store.data_dir": "data"}, traffic)
    arguments = ["export", "--config", str(tmp_path / "gateway.yaml"), "--out"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, str(tmp_path / "data.parquet")])
    told = capsys.readouterr().err
    assert exit_.value.code == 2
    assert len(told.splitlines()) == 1
    assert "outcomes.contents.enabled is false" in told
    assert not (tmp_path / "data.parquet").exists()
    result = export(tmp_path, "--without-prompts")
    assert result.exit_code == 0, result.output
    assert "note: the prompts of 1 decisions are not known" in result.stderr
    (row,) = rows_of(tmp_path / "out" / "data.jsonl")
    assert row["quality"] == 1
    assert row["request_id"].startswith("req-")
    assert "messages" not in row


def test_unlabelled_answers_are_there_for_a_judge(stub, artifacts, tmp_path):
    served(tmp_path, stub, artifacts, CONTENTS, lambda client: ask(client, "Why?"))
    assert "no decision of that time has a label" in str(export(tmp_path).exception)
    result = export(tmp_path, "--unlabelled", "--answers")
    assert result.exit_code == 0, result.output
    assert "without any label" in result.stderr
    (row,) = rows_of(tmp_path / "out" / "data.jsonl")
    assert row["quality"] is None
    assert len(row["answer"]) > 10


@pytest.mark.parametrize("name", ["data.jsonl", "data.parquet"])
def test_answers_are_exported_as_policies_of_several_calls_read_them(labelled, tmp_path, name):
    result = export(labelled, "--answers", "--out", tmp_path / name)
    assert result.exit_code == 0, result.output
    data = [tmp_path / name]
    table = read_outcomes(data)
    answers = read_answers(table, data)
    assert answers.models == tuple(table.models)
    # Nobody has read yet what they come down to.
    assert set(answers.literals.ravel()) == {None}
    assert all(len(text) > 10 for text in answers.texts.ravel())
    assert (answers.latency_s > 0).all()


def test_conversations_of_several_messages_are_exported_whole(stub, artifacts, tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Why so?"},
    ]

    def traffic(client):
        label(client, decision_id=ask(client, messages), score=0.5)

    served(tmp_path, stub, artifacts, CONTENTS, traffic)
    for name in ("data.jsonl", "data.parquet"):
        result = export(tmp_path, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        (conversation,) = read_outcomes([tmp_path / name]).conversations
        assert [message.text for message in conversation.messages] == [
            message["content"] for message in messages
        ]


def test_comparisons_become_battles(stub, artifacts, tmp_path):
    def traffic(client):
        first, second = (ask(client, "Which?", model) for model in ("sim-nano", "sim-large"))
        label(client, decision_a=first, decision_b=second, winner="b")
        other = ask(client, "Something else?", "sim-nano")
        label(client, decision_a=other, decision_b=second, winner="a")

    served(tmp_path, stub, artifacts, CONTENTS, traffic)
    result = export(tmp_path, "--preferences", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["without_prompt"] == 1  # of different prompts
    table = read_outcomes([tmp_path / "out" / "data.jsonl"])
    won = dict(zip(table.models, table.quality[0].tolist(), strict=True))
    assert won == {"sim-nano": 0.0, "sim-large": 1.0}


def test_without_a_log_it_says_so(stub, tmp_path):
    stub_config(tmp_path, stub.origin)
    assert "store.data_dir is not set" in str(export(tmp_path).exception)
    stub_config(tmp_path, stub.origin, changes={"store.data_dir": "data"})
    assert "has the gateway served yet" in str(export(tmp_path).exception)
