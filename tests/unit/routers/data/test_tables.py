"""Outcome tables as people have them: CSV of every make, packed, nested, in memory."""

import gzip
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.convert import convert
from routers.data.dataset import read_outcomes, table_of_records
from routers.data.doubts import doubts
from routers.errors import DataError
from routers.types import Conversation, Message, Role

WIDE = "query_id,prompt,q:a,q:b,t:a\n1,What is 1+1?,1,0.5,10\n2,What is 2+2?,0,,20\n"
LONG = (
    "prompt,model,quality,cost_usd\nWhat is 1+1?,a,1,0.1\nWhat is 1+1?,b,0.5,0.2\n"
    "What is 2+2?,a,0,0.1\n"
)


def read(tmp_path, content, name="data.csv"):
    content = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(content)
    return read_outcomes([tmp_path / name])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", WIDE.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + WIDE.encode()),
        ("windows.csv", WIDE.replace("\n", "\r\n").encode()),
        ("old-mac.csv", WIDE.replace("\n", "\r").encode()),
        ("semicolons.csv", WIDE.replace(",", ";").replace("0.5", "0,5").encode()),
        ("said.csv", b"sep=;\n" + WIDE.replace(",", ";").encode()),
        ("late.csv", b"\n\n" + WIDE.encode()),
        ("bars.csv", WIDE.replace(",", "|").encode()),
        ("tabs.tsv", WIDE.replace(",", "\t").encode()),
        ("excel.csv", WIDE.replace(",", "\t").encode("utf-16")),
        ("packed.csv.gz", gzip.compress(WIDE.encode(), mtime=0)),
        ("index.csv", f",{WIDE}".replace("\n1", "\n0,1").replace("\n2", "\n1,2").encode()),
        ("capitals.csv", WIDE.replace("query_id,prompt,q:a", " Query_ID , Prompt,Q:a").encode()),
        ("quoted.csv", WIDE.replace("What is 1+1?", '"What is 1+1?"').encode()),
        ("NAN.CSV", WIDE.replace("0,,20", "0,NaN,20").encode()),
        ("blank.csv", (WIDE.replace("\n2,", "\n\n,,,,\n2,") + "\n\n").encode()),
        ("money.csv", WIDE.replace("0.5", "50%").encode()),
    ],
)
def test_wide_csv_of_every_make_is_the_same_table(tmp_path, name, content):
    table = read(tmp_path, content, name)
    assert table.query_ids == ("1", "2")
    assert table.models == ("a", "b")
    np.testing.assert_array_equal(table.quality, [[1, 0.5], [0, np.nan]])
    np.testing.assert_array_equal(table.output_tokens[:, 0], [10, 20])
    assert table.conversations[0] == Conversation.of("What is 1+1?")


def test_one_outcome_a_row_is_gathered_by_prompt(tmp_path):
    table = read(tmp_path, LONG)
    assert len(table) == 2
    np.testing.assert_array_equal(table.quality, [[1, 0.5], [0, np.nan]])
    assert table.cost_usd[0].tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("yes", "no"),
    [("true", "false"), ("TRUE", "FALSE"), ("Yes", "no"), ("pass", "fail"), ("1", "0")],
)
def test_words_for_right_and_wrong_are_qualities(tmp_path, yes, no):
    table = read(tmp_path, f"prompt,q:a,q:b\nx,{yes},{no}\ny,{no},{yes}\n")
    assert table.quality.tolist() == [[1, 0], [0, 1]]


def test_true_false_and_words_are_qualities_of_lines(tmp_path):
    lines = [
        {"query_id": "1", "prompt": "x", "model": model, "quality": quality}
        for model, quality in (("a", True), ("b", False), ("c", "yes"), ("d", "No"))
    ]
    table = read(tmp_path, "\n".join(map(json.dumps, lines)), "data.jsonl")
    assert table.quality.tolist() == [[1, 0, 1, 0]]


def test_wide_lines_and_lists_of_objects_are_read(tmp_path):
    rows = [{"query_id": "1", "prompt": "x", "q:a": 1, "q:b": False, "c:b": 0.1}]
    for name, text in (
        ("wide.jsonl", json.dumps(rows[0])),
        ("list.json", json.dumps(rows, indent=1)),
        ("lines.json", json.dumps(rows[0])),
        ("packed.jsonl.gz", gzip.compress(json.dumps(rows[0]).encode())),
    ):
        table = read(tmp_path, text, name)
        assert table.quality.tolist() == [[1, 0]]
        assert table.cost_usd[0, 1] == 0.1


def test_messages_stand_in_csv_as_json(tmp_path):
    messages = json.dumps([{"role": "user", "content": "Hi"}]).replace('"', '""')
    table = read(tmp_path, f'prompt,messages,q:a,q:b\nshown,"{messages}",1,0\nx,,0,1\n')
    assert [each.messages[0].text for each in table.conversations] == ["Hi", "x"]


def test_parquet_may_be_nested_long_and_decimal(tmp_path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    rows = {
        "query_id": [1, 1],
        "messages": [messages, messages],
        "model": ["a", "b"],
        "quality": [Decimal("0.5"), None],
        "cost_usd": [float("nan"), 0.1],
    }
    pq.write_table(pa.table(rows), tmp_path / "long.parquet")
    (tmp_path / "more.jsonl").write_text(
        json.dumps({"query_id": "2", "prompt": "x", "model": "b", "quality": 1})
    )
    table = read_outcomes([tmp_path / "long.parquet", tmp_path / "more.jsonl"])
    assert table.conversations[0].messages[0] == Message(Role.SYSTEM, "Be brief.")
    np.testing.assert_array_equal(table.quality, [[0.5, np.nan], [np.nan, 1]])
    assert table.cost_usd[0, 1] == 0.1
    wide = {
        "query_id": ["1"],
        "prompt": ["shown"],
        "messages": [messages],
        "q:a": [True],
        "q:b": ["no"],
    }
    pq.write_table(pa.table(wide), tmp_path / "wide.parquet")
    table = read_outcomes([tmp_path / "wide.parquet"])
    assert table.conversations[0].messages[1].text == "Hi"
    assert table.quality.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,q:a\nx,87\n", r"line 2: 'q:a' is 87.0; .*--quality-scale 100 divides"),
        ("prompt,q:a\nx,good\n", "line 2: 'q:a' must be a number, got 'good'"),
        ("prompt,q:a,c:a\nx,1,-0.1\n", "line 2: 'c:a' is -0.1; it must be finite and not neg"),
        ("prompt,q:a,c:z\nx,1,2\n", "column 'c:z' has no 'q:z' beside it"),
        ("prompt,q:a,q:b\nx,1,\n", "no quality is known for b"),
        ("prompt,q:a\nx,1,2\n", r"line 2: has too many or few fields \(3, the header 2\)"),
        ("prompt,q:a,q:a\nx,1,2\n", "column 'q:a' occurs twice"),
        ("prompt,gpt,yi\nx,1,2\n", r"column 'q:MODEL' is missing; .* it has: prompt, gpt, yi"),
        ("id,q:a\nx,1\n", "column 'prompt' is missing"),
        ("prompt,messages,q:a\nx,{,1\n", "line 2: 'messages' is no JSON"),
        ("prompt,q:a\nx,1e999\n", "it must be between 0 and 1"),
        (WIDE.replace("What", "Wh\xe4t").encode("latin-1"), r"not UTF-8 text; .*CSV UTF-8"),
        (
            "sample_id,prompt,eval_name,gpt,gpt|total_cost\n1,x,mmlu,1,0.1\n",
            r"data convert --format routerbench --in .*data.csv --out .*data-converted.parquet",
        ),
        ("prompt_id,prompt,model_name,label\n1,x,a,1\n", "--format embedllm"),
        ("prompt,model_a,model_b,winner\nx,a,b,tie\n", r"routellm-battles .*-converted.jsonl"),
    ],
)
def test_what_is_wrong_with_a_csv_is_told_with_place_and_help(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_published_lines_are_known_by_their_keys(tmp_path):
    row = {"key": "k", "dataset": "d", "prompt": "p", "gpt": {"score": 1}}
    with pytest.raises(DataError, match="data convert --format sprout"):
        read(tmp_path, json.dumps(row), "sprout.jsonl")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "sprout.parquet")
    with pytest.raises(DataError, match="data convert --format sprout"):
        read_outcomes([tmp_path / "sprout.parquet"])


def test_packed_files_are_unpacked_no_further_than_a_table_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr("routers.data.opening.MAX_TEXT_BYTES", 1000)
    with pytest.raises(DataError, match=r"bomb.csv.gz: unfolds to over"):
        read(tmp_path, gzip.compress(WIDE.encode() + b"3,x,1,1,1\n" * 1000), "bomb.csv.gz")
    with pytest.raises(DataError, match="is no whole gzip file"):
        read(tmp_path, gzip.compress(WIDE.encode())[:-12], "cut.csv.gz")


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_other_scales_are_divided_as_a_file_is_converted(tmp_path, suffix):
    (tmp_path / "percent.csv").write_text("prompt;q:a;q:b;t:a\nx;87,5;100;10\ny;0;;20\n")
    out = tmp_path / f"out.{suffix}"
    convert("wide", tmp_path / "percent.csv", out, quality_scale=100)
    table = read_outcomes([out])
    np.testing.assert_array_equal(table.quality, [[0.875, 1], [0, np.nan]])
    pq.write_table(
        pa.table({"query_id": ["1"], "prompt": ["x"], "q:a": [50], "q:b": [100]}),
        tmp_path / "percent.parquet",
    )
    convert("wide", tmp_path / "percent.parquet", out, quality_scale=100)
    assert read_outcomes([out]).quality.tolist() == [[0.5, 1]]


def test_short_prompts_are_left_out_as_an_arena_is_converted(tmp_path):
    battle = {"model_a": "x", "model_b": "y", "winner": "model_a"}
    prompts = ["hello", "fifteen letters", "sixteen letters!", "seventeen letters"]
    (tmp_path / "arena.jsonl").write_text(
        "".join(json.dumps(battle | {"prompt": prompt}) + "\n" for prompt in prompts)
    )
    out = tmp_path / "battles.jsonl"
    found = convert("routellm-battles", tmp_path / "arena.jsonl", out, fewest_chars=16)
    assert (found.what, found.n_records) == ("preferences", 2)
    told = [json.loads(line)["prompt"] for line in out.read_text().splitlines()]
    assert told == prompts[2:]
    with pytest.raises(DataError, match="has no rows"):
        convert("routellm-battles", tmp_path / "arena.jsonl", out, fewest_chars=100)
    assert len(out.read_text().splitlines()) == 2, "what was there stays"


def test_arena_conversations_are_read_as_they_are_published(tmp_path):
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "sing"}]}]
    rows = [
        {"question_id": "1", "model_a": "x", "model_b": "y", "winner": "model_a"}
        | {"conversation_a": turns, "conversation_b": turns, "judge": "j", "turn": 1},
        {"question_id": "2", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)"}
        | {"conversation_a": [*turns, {"role": "user", "content": "bye"}], "conversation_b": turns},
        {"id": "3", "model_a": "y", "model_b": "x", "winner": "both_bad", "conversation_a": parts},
        {"id": "4", "model_a": "y", "model_b": "x", "prompt": '["a", "b"]', "winner_model_b": 1},
    ]
    text = "\n".join(map(json.dumps, rows))
    table = read(tmp_path, text, "arena.jsonl")
    assert [each.messages[0].text for each in table.conversations] == [
        *("hello", "hello\n\nbye", "sing", "a\n\nb"),
    ]
    assert table.comparisons.outcome.tolist() == [1, 0.5, 0.5, 0]
    convert("routellm-battles", tmp_path / "arena.jsonl", tmp_path / "out.jsonl")
    again = read_outcomes([tmp_path / "out.jsonl"])
    assert again.comparisons.outcome.tolist() == [1, 0.5, 0.5, 0]
    assert again.query_ids == ("1", "2", "3", "4")
    for change, message in (
        ({"conversation_a": []}, "'messages' must be a list"),
        ({"conversation_a": None}, "'prompt' is missing, and 'conversation_a' too"),
        ({"winner": None}, "tells no winner"),
        ({"model_a": ""}, "'model_a' must be a text"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, json.dumps(rows[0] | change), "arena.jsonl")


def wide(*rows, **more):
    return table_of_records(
        [
            {"query_id": str(i), "prompt": f"p{i}", **{f"q:{m}": v for m, v in row.items()}, **more}
            for i, row in enumerate(rows)
        ]
    )


COSTS = {"c:a": 1.0, "c:b": 2.0}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (wide({"a": 1}, {"a": 0}), "a is the only model"),
        (wide({"a": 1, "b": 1}, {"a": 0, "b": 0}), "all models are equally good on every query"),
        (wide({"a": 1, "b": 0}, {"a": 1, "b": 1}, **COSTS), "a is the cheapest model and never"),
        (wide({"a": 0, "b": 1}, {"a": 1, "b": 1}, **COSTS), "b is never beaten on any query"),
        (wide({"a": 1, "b": 0}, {"a": 1, "b": 1}), "a is never beaten on any query"),
        (wide({"a": 1, "b": 0}, {"a": 0, "b": 1}, **COSTS), None),
        (wide({"a": 1}, {"b": 1}), None),
    ],
)
def test_sets_where_nothing_can_be_routed_are_called_so(table, message):
    found = doubts(table)
    assert (message is None and found == []) or message in found[0]


def test_one_id_with_several_prompts_is_told():
    rows = [
        {"query_id": str(i % 5), "prompt": f"p{i}", "q:a": i % 2, "q:b": 1 - i % 2}
        for i in range(10)
    ]
    (told,) = doubts(table_of_records(rows))
    assert told.startswith("5 query_ids stand with different prompts ('0', '1', '2' and 2 more)")
