"""`steelyard replay` as a user runs it."""

import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli import main
from app.commands.replay import replay
from tests.support.answers import write_answered
from tests.support.gateway import CONFIGS

POLICY = "workflow: {kind: agree, models: [mini, small], last: large, normaliser: option}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    write_answered(folder)
    (folder / "policy.yaml").write_text(POLICY)
    return folder


def arguments(folder, *further):
    given = ("--policy", folder / "policy.yaml", "--data", folder / "outcomes.parquet")
    return [str(each) for each in (*given, *further)]


def run(folder, *further):
    answers = ("--answers", folder / "answers.parquet", "--draws", 200)
    return CliRunner().invoke(replay, arguments(folder, *answers, *further))


def test_a_policy_is_told_as_a_table_or_as_json(folder, tmp_path):
    out = tmp_path / "new" / "calls.parquet"
    told = run(folder, "--cost-quality", "0,1", "--out", out)
    assert told.exit_code == 0, told.output
    assert "agree on 300 queries; best single model large" in told.stdout
    assert "reading answers" in told.stderr
    assert "wrote" in told.stderr
    decisions = pq.read_table(out).to_pylist()
    assert len(decisions) == 600
    assert decisions[0]["calls"][:2] == ["mini", "small"]
    assert decisions[0]["served"] in {"mini", "small", "large"}
    found = json.loads(run(folder, "--json").stdout)
    assert [each["cost_quality"] for each in found["positions"]][:2] == [0.0, 0.05]
    assert len(found["positions"]) == 21


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Return a folder with outcomes and answers of models that a shipped configuration has."""
    folder = tmp_path_factory.mktemp("simulated")
    names = {"mini": "sim-nano", "small": "sim-small", "large": "sim-large"}
    for path in write_answered(folder, n=60):
        table = pq.read_table(path)
        called = [
            f"{name[:2]}{names[name[2:]]}" if name[2:] in names else name
            for name in table.column_names
        ]
        pq.write_table(table.rename_columns(called), path)
    return folder


def test_a_policy_of_a_configuration_is_replayed(simulated):
    told = CliRunner().invoke(
        replay,
        [
            *("--policy", str(CONFIGS / "gateway.workflows.yaml"), "--name", "agreed"),
            *("--data", str(simulated / "outcomes.parquet")),
            *("--answers", str(simulated / "answers.parquet")),
            *("--cost-quality", "0.5", "--draws", "100", "--json"),
        ],
    )
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["workflow"] == "agree"
    assert found["artifact_version"] is not None
    assert [each["model"] for each in found["models"]] == ["sim-nano", "sim-small", "sim-large"]
    assert 2 < found["positions"][0]["calls"] < 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ((), "say by --name which policy; with a workflow: default, judged, agreed, best"),
        (("--name", "absent"), "has no policy 'absent'; known: default, judged"),
    ],
)
def test_which_policy_of_a_configuration_has_to_be_said(simulated, capsys, name, told):
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                *("replay", "--policy", str(CONFIGS / "gateway.workflows.yaml"), *name),
                *("--data", str(simulated / "outcomes.parquet")),
            ]
        )
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("further", "told"),
    [
        ((), "outcomes.parquet: holds no answers"),
        (("--artifact", "x"), "give either --artifact or --policy"),
        (("--name", "default"), "holds one policy; --name is about a configuration"),
        (("--cost-quality", "2"), "2 is not within 0 and 1"),
        (("--answers", "absent.parquet"), "absent.parquet: cannot be read"),
        (("--out", "/"), "is a folder, give a file name"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, further, told):
    with pytest.raises(SystemExit) as exit_:
        main(["replay", *arguments(folder, *further)])
    assert exit_.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert told in last


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("workflow: {kind: agree, models: [mini]}", "1 models can never be 2 that agree"),
        ("workflow: {kind: agree, models: [mini, huge]}", "cannot work: it calls 'huge'"),
        ("workflow: [", "is not valid YAML"),
        ("", "policy.yaml: the file: Input should be"),
    ],
)
def test_a_policy_that_cannot_work_is_one_line(folder, tmp_path, capsys, content, told):
    (tmp_path / "policy.yaml").write_text(content)
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                *("replay", "--policy", str(tmp_path / "policy.yaml")),
                *("--data", str(folder / "outcomes.parquet")),
                *("--answers", str(folder / "answers.parquet")),
            ]
        )
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_judge_of_a_configuration_whose_words_nobody_recorded_is_one_line(simulated, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                *("replay", "--policy", str(CONFIGS / "gateway.workflows.yaml")),
                *("--name", "judged", "--data", str(simulated / "outcomes.parquet")),
                *("--answers", str(simulated / "answers.parquet")),
            ]
        )
    assert exit_.value.code == 2
    assert "to judge the answer of" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("positions", ["", ",", "0,,1", "0;1", "a", "nan", "inf", "-0.1", "0..1"])
def test_positions_that_are_none_are_one_line(folder, capsys, positions):
    with pytest.raises(SystemExit) as exit_:
        main(["replay", *arguments(folder, "--cost-quality", positions)])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--cost-quality" in line


def test_a_position_that_is_asked_twice_is_one_row(folder, tmp_path):
    out = tmp_path / "calls.parquet"
    assert run(folder, "--cost-quality", "0,1,0", "--out", out).exit_code == 0
    assert pq.read_table(out)["knob"].to_pylist()[:4] == [0.0, 1.0, 0.0, 1.0]
    assert pq.read_table(out).num_rows == 600


def test_lines_with_a_byte_order_mark_are_read(folder, tmp_path):
    lines = [
        {"query_id": row["query_id"], "prompt": row["prompt"], "model": model}
        | {"quality": row[f"q:{model}"], "cost_usd": row[f"c:{model}"], "output_tokens": 9}
        for row in pq.read_table(folder / "outcomes.parquet").to_pylist()
        for model in ("mini", "small", "large")
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("\ufeff" + "\n".join(map(json.dumps, lines)), encoding="utf-8")
    given = ("--policy", folder / "policy.yaml", "--answers", folder / "answers.parquet")
    asked = [str(each) for each in (*given, "--draws", 100, "--cost-quality", "0,1", "--json")]
    told = CliRunner().invoke(replay, [*asked, "--data", str(data)])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["n_compared"] == 300
