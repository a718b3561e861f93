"""Every adapter on a small file with the column names of its publisher."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.adapters.base import adapter, kinds
from routers.data.convert import convert
from routers.data.dataset import read_outcomes
from routers.data.preferences import read_preferences
from routers.errors import DataError, RoutingConfigError
from tests.support.outcomes import write_outcomes

ROUTERBENCH = """sample_id,prompt,eval_name,gpt,gpt|model_response,gpt|total_cost,\
yi,yi|model_response,yi|total_cost,oracle_model_to_route_to
a.1,"['First line, ""quoted""', 'Second']",mbpp,1.0,abcdefgh,0.002,0.0,,0.0001,gpt
a.2,Plain prompt,arc,0.25,"answer
of two lines",0.003,,x,0.0002,gpt
"""
EMBEDLLM = """prompt_id,model_id,category_id,label,category,model_name,prompt
7,0,3,1,mmlu,big,What is 1+1?
7,1,3,0,mmlu,small,What is 1+1?
8,0,3,0,mmlu,big,What is 2+2?
"""
ARENA = """id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie
1,gpt,yi,"[""hello"", ""and then?""]",x,y,1,0,0
2,gpt,vicuna,"[""bye""]",x,y,0,0,1
"""


def test_every_adapter_has_a_test_here():
    assert set(kinds()) == {
        "coderouterbench", "decision-log", "embedllm", "jsonl", "llmrouterbench",
        "routellm-battles", "routerarena", "routerbench", "sprout", "twinrouterbench", "wide",
        "xroutebench",
    }  # fmt: skip
    with pytest.raises(RoutingConfigError, match="known: coderouterbench"):
        adapter("excel")


def test_routerbench_csv(tmp_path):
    (tmp_path / "rb.csv").write_text(ROUTERBENCH)
    found = convert("routerbench", tmp_path / "rb.csv", tmp_path / "rb.parquet")
    assert (found.n_records, found.n_queries, found.models) == (4, 2, ("gpt", "yi"))
    table = read_outcomes([tmp_path / "rb.parquet"])
    assert table.quality[0].tolist() == [1, 0]
    assert np.isnan(table.quality[1, 1])
    assert table.cost_usd[1].tolist() == [0.003, 0.0002]
    assert table.output_tokens[0].tolist() == [2, 0]
    assert table.conversations[0].messages[0].text == 'First line, "quoted"\n\nSecond'
    assert table.groups == ("routerbench/mbpp", "routerbench/arc")


def test_pickles_are_refused_whatever_they_are_called(tmp_path):
    for name in ("rb.pkl", "rb.csv"):
        (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
        with pytest.raises(DataError, match="is a pickle, which may run any code"):
            convert("routerbench", tmp_path / name, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_sprout_parquet(tmp_path):
    def model(score, tokens):
        return {"response": "…", "num_input_tokens": 9, "num_output_tokens": tokens, "score": score}

    rows = [
        {
            "key": "k1",
            "dataset": "math",
            "prompt": "p1",
            "gpt": model(1.0, 5),
            "aws": model(0.5, 7),
        },
        {
            "key": "k2",
            "dataset": "math",
            "prompt": "p2",
            "gpt": model(0.0, 6),
            "aws": model(None, 8),
        },
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    convert("sprout", tmp_path / "s.parquet", tmp_path / "s.jsonl")
    table = read_outcomes([tmp_path / "s.jsonl"])
    assert table.models == ("gpt", "aws")
    assert table.quality[0].tolist() == [1, 0.5]
    assert np.isnan(table.quality[1, 1])
    assert table.output_tokens[1].tolist() == [6, 8]
    assert table.input_tokens.tolist() == [9, 9]
    assert table.groups[0] == "sprout/math"


def test_embedllm_csv(tmp_path):
    (tmp_path / "e.csv").write_text(EMBEDLLM)
    convert("embedllm", tmp_path / "e.csv", tmp_path / "e.parquet")
    table = read_outcomes([tmp_path / "e.parquet"])
    assert table.query_ids == ("7", "8")
    assert table.quality[0].tolist() == [1, 0]
    assert np.isnan(table.quality[1, 1])


def test_arena_battles_become_preferences(tmp_path):
    (tmp_path / "b.csv").write_text(ARENA)
    found = convert("routellm-battles", tmp_path / "b.csv", tmp_path / "b.jsonl")
    assert (found.what, found.n_records) == ("preferences", 2)
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert lines[0]["prompt"] == "hello\n\nand then?"
    assert [line["winner"] for line in lines] == ["model_a", "tie"]
    assert set(read_preferences(tmp_path / "b.jsonl").models) == {"gpt", "yi", "vicuna"}
    with pytest.raises(DataError, match=r"convert them to \.jsonl"):
        convert("routellm-battles", tmp_path / "b.csv", tmp_path / "b.parquet")


def test_battles_with_a_winner_column(tmp_path):
    rows = [
        {"prompt": ["a", "b"], "model_a": "x", "model_b": "y", "winner": "tie (bothbad)"},
        {"prompt": "c", "model_a": "x", "model_b": "y", "winner": "model_b"},
    ]
    path = tmp_path / "b.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    convert("routellm-battles", path, tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["winner"] for line in lines] == ["tie", "model_b"]
    path.write_text(json.dumps({**rows[1], "winner": "nobody"}))
    with pytest.raises(DataError, match="tells no winner"):
        convert("routellm-battles", path, tmp_path / "out.jsonl")


def test_the_decision_log_gives_what_was_labelled(tmp_path):
    usage = {"input_tokens": 12, "output_tokens": 30}
    done = {"served_model_id": "m", "usage": usage, "cost_usd": 0.01, "policy": "default"}
    rows = [
        {"request_id": "r1", **done, "quality": 0.5, "prompt": "hello"},
        {"request_id": "r2", **done, "quality": None, "prompt": "unlabelled"},
        {"request_id": "r3", "served_model_id": None, "quality": 0, "prompt": "failed"},
        {
            "request_id": "r4", **done, "quality": 1,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        },
    ]  # fmt: skip
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    convert("decision-log", path, tmp_path / "out.jsonl")
    table = read_outcomes([tmp_path / "out.jsonl"])
    assert table.query_ids == ("r1", "r4")
    assert table.quality[:, 0].tolist() == [0.5, 1]
    assert table.cost_usd[0, 0] == 0.01
    assert len(table.conversations[1].messages) == 2
    convert("decision-log", path, tmp_path / "out.parquet")
    wide = read_outcomes([tmp_path / "out.parquet"])
    assert wide.conversations == table.conversations
    assert wide.quality[:, 0].tolist() == [0.5, 1]
    both = read_outcomes([tmp_path / "out.jsonl", tmp_path / "out.parquet"])
    assert both.query_ids == table.query_ids  # the same queries, whatever holds them
    path.write_text(json.dumps({"request_id": "r", **done, "quality": 1}))
    with pytest.raises(DataError, match="neither prompt nor messages"):
        convert("decision-log", path, tmp_path / "out.jsonl")
    path.write_text(json.dumps(rows[1]))
    with pytest.raises(DataError, match="no line has both"):
        convert("decision-log", path, tmp_path / "out.jsonl")


def test_wide_tables_survive_the_way_through_lines_and_back(tmp_path):
    data = write_outcomes(tmp_path / "wide.parquet", n=30)
    convert("wide", data, tmp_path / "lines.jsonl")
    convert("jsonl", tmp_path / "lines.jsonl", tmp_path / "again.parquet")
    before, after = read_outcomes([data]), read_outcomes([tmp_path / "again.parquet"])
    assert before.query_ids == after.query_ids
    assert before.groups == after.groups
    for name in ("quality", "output_tokens", "cost_usd"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


@pytest.mark.parametrize(
    ("kind", "name", "text", "message"),
    [
        ("routerbench", "x.csv", "sample_id,prompt\n", "'eval_name' is missing"),
        ("routerbench", "x.csv", "sample_id,prompt,eval_name\n1,2,3\n", "no MODEL"),
        ("routerbench", "x.csv", "sample_id,prompt,eval_name,m|total_cost\n1,2,3,4\n", "'m' is"),
        ("embedllm", "x.csv", "prompt_id,prompt,model_name,label\n1,p,m,yes\n", "'yes' is not"),
        ("embedllm", "x.csv", "prompt_id,prompt,model_name,label\n1,p\n", "too many or few"),
        ("embedllm", "x.csv", "prompt_id,prompt,model_name,label\n", "nothing to convert"),
        ("sprout", "x.jsonl", '{"prompt": "p"}\n', "objects with 'score'"),
        ("jsonl", "x.jsonl", "[1]\n", "must be an object"),
        ("jsonl", "x.jsonl", "{\n", "line 1: is not valid JSON"),
        (
            "jsonl",
            "x.jsonl",
            '{"query_id": "1", "prompt": "p", "model": "m", "quality": "?"}',
            "qu",
        ),
        ("wide", "x.parquet", "no parquet", "cannot be read as parquet"),
        ("embedllm", "absent.csv", None, "cannot be read"),
    ],
)
def test_defects_are_named_and_no_file_is_left(tmp_path, kind, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        convert(kind, tmp_path / name, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_output_has_to_be_a_file_of_ours(tmp_path):
    data = write_outcomes(tmp_path / "wide.parquet", n=30)
    with pytest.raises(DataError, match=r"\.parquet or \.jsonl"):
        convert("wide", data, tmp_path / "out.csv")
    with pytest.raises(DataError, match="input itself"):
        convert("wide", data, data)
    assert data.exists()
