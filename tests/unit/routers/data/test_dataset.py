import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.dataset import read_outcomes
from routers.errors import DataError
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation, Message, Role


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def write_jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


WIDE = {
    "query_id": ["1", "2"],
    "prompt": ["few shots. What is 1+1?", "few shots. What is 2+2?"],
    "q:a": pa.array([1.0, 0.0], pa.float32()),
    "q:b": pa.array([None, 0.5], pa.float32()),
}
LINE = {"query_id": "1", "prompt": "Hello", "model": "a", "quality": 1.0}


def test_wide_tables_are_read_with_holes(tmp_path):
    table = read_outcomes([write_parquet(tmp_path / "w.parquet", **WIDE)])
    assert table.models == ("a", "b")
    assert table.query_ids == ("1", "2")
    np.testing.assert_array_equal(table.quality, [[1, np.nan], [0, 0.5]])
    assert np.isnan(table.cost_usd).all()
    assert table.labels.output_tokens is None
    assert table.files[0].n_rows == 2


def test_the_query_is_embedded_and_the_prompt_is_billed(tmp_path):
    columns = {"query": ["What is 1+1?", None]}
    table = read_outcomes([write_parquet(tmp_path / "w.parquet", **WIDE, **columns)])
    assert table.conversations[0] == Conversation.of("What is 1+1?")
    assert table.conversations[1] == Conversation.of(WIDE["prompt"][1])
    assert table.input_tokens[0] == estimate_tokens(Conversation.of(WIDE["prompt"][0]))


def test_costs_and_tokens_stand_with_their_model(tmp_path):
    more = {"t:b": pa.array([10, 20], pa.int32()), "c:a": pa.array([0.1, 0.2], pa.float32())}
    table = read_outcomes([write_parquet(tmp_path / "w.parquet", **WIDE, **more)])
    np.testing.assert_array_equal(table.output_tokens, [[np.nan, 10], [np.nan, 20]])
    np.testing.assert_allclose(table.cost_usd, [[0.1, np.nan], [0.2, np.nan]], rtol=1e-6)


def test_files_are_joined_by_query_and_prompt(tmp_path):
    first = write_parquet(tmp_path / "w.parquet", **WIDE)
    second = write_jsonl(
        tmp_path / "l.jsonl",
        {**LINE, "prompt": WIDE["prompt"][0], "model": "c", "quality": 0.25},
        {**LINE, "query_id": "2", "prompt": "another", "model": "c", "quality": None},
        {**LINE, "query_id": "3", "prompt": "third", "model": "a", "quality": 0},
    )
    table = read_outcomes([first, second])
    assert table.models == ("a", "b", "c")
    assert table.query_ids == ("1", "2", "2", "3")
    nan = np.nan
    np.testing.assert_array_equal(
        table.quality, [[1, nan, 0.25], [0, 0.5, nan], [nan, nan, nan], [0, nan, nan]]
    )


def test_repeated_outcomes_are_averaged(tmp_path):
    path = write_jsonl(
        tmp_path / "l.jsonl",
        {**LINE, "quality": 1, "output_tokens": 10},
        {**LINE, "quality": 0, "output_tokens": None},
    )
    table = read_outcomes([path])
    assert table.quality.tolist() == [[0.5]]
    assert table.output_tokens.tolist() == [[10]]


def test_jsonl_takes_messages_reported_tokens_and_numeric_ids(tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]},
    ]
    path = write_jsonl(
        tmp_path / "l.jsonl",
        {
            "query_id": 7,
            "messages": messages,
            "model": "a",
            "quality": 1,
            "input_tokens": 123,
            "cost_usd": 0.01,
            "set": "mine",
            "benchmark": "chat",
        },
    )
    table = read_outcomes([path])
    assert table.query_ids == ("7",)
    assert table.conversations[0].messages == (
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "Hi"),
    )
    assert table.input_tokens.tolist() == [123]
    assert table.cost_usd.tolist() == [[0.01]]
    assert table.groups == ("mine/chat",)


def without(name):
    return {key: value for key, value in WIDE.items() if key != name}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (without("query_id"), "column 'query_id' is missing"),
        (without("prompt"), "column 'prompt' is missing"),
        ({"query_id": ["1"], "prompt": ["x"]}, "no q:MODEL column"),
        ({**WIDE, "q:a": [0.5, 1.5]}, "row 1, column 'q:a' is 1.5"),
        ({**WIDE, "q:a": [-0.1, 0.5]}, "row 0, column 'q:a' is -0.1"),
        ({**WIDE, "q:a": ["good", "bad"]}, "column 'q:a' holds something other than numbers"),
        ({**WIDE, "c:a": [0.1, float("inf")]}, "row 1, column 'c:a' is inf"),
        ({**WIDE, "t:a": [-1, 5]}, "row 0, column 't:a' is -1"),
        ({**WIDE, "c:z": [0.1, 0.2]}, "'c:z' has no 'q:z'"),
        ({**WIDE, "prompt": ["x", None]}, "row 1, column 'prompt' holds None"),
        ({**WIDE, "prompt": [1, 2]}, "row 0, column 'prompt' holds 1"),
        ({**WIDE, "q:b": pa.nulls(2, pa.float32())}, "no quality is known for b"),
        ({name: values[:0] for name, values in WIDE.items()}, "has no rows"),
    ],
)
def test_defects_of_wide_tables_are_named_with_file_and_place(tmp_path, columns, message):
    path = write_parquet(tmp_path / "broken.parquet", **columns)
    with pytest.raises(DataError, match=message) as refused:
        read_outcomes([path])
    assert "broken.parquet" in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: is not valid JSON"),
        ("[1]", "line 2: must be an object"),
        (json.dumps({**LINE, "quality": 2}), "line 2: 'quality' is 2"),
        (json.dumps({**LINE, "quality": "0.5"}), "line 2: 'quality' must be a number"),
        (json.dumps({**LINE, "quality": 87}), "it must be between 0 and 1 .*--quality-scale 100"),
        (json.dumps({**LINE, "cost_usd": True}), "line 2: 'cost_usd' must be a number"),
        (json.dumps({**LINE, "quality": "good"}), "line 2: 'quality' must be a number"),
        ('{"query_id": "1", "prompt": "x", "model": "a", "quality": NaN}', "'quality' is nan"),
        (json.dumps({**LINE, "cost_usd": -1}), "line 2: 'cost_usd' is -1"),
        (json.dumps({**LINE, "model": ""}), "line 2: 'model' must be a text"),
        (json.dumps({**LINE, "query_id": None}), "line 2: 'query_id' must be a text"),
        (json.dumps({**LINE, "messages": []}), "line 2: give either 'prompt' or 'messages'"),
        (json.dumps({"query_id": "1", "prompt": "x", "model": "a"}), "'quality' is missing"),
        (
            json.dumps({"query_id": "1", "model": "a", "quality": 1, "messages": [{"role": "x"}]}),
            "line 2: a message needs a role",
        ),
        (json.dumps({**LINE, "query_id": "other", "query": 5}), "'query' must be a text"),
    ],
)
def test_defects_of_lines_are_named_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + line + "\n")
    with pytest.raises(DataError, match=message) as refused:
        read_outcomes([path])
    assert "broken.jsonl" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", b"not parquet", "cannot be read as parquet"),
        ("x.jsonl", b"", "has no rows"),
        ("x.jsonl", b"\xff\xfe{}", "not UTF-8"),
        ("x.csv", b"a,b", "column 'prompt' is missing"),
        ("x.csv", b"", "column 'prompt' is missing.* it has: nothing"),
        ("x.csv", b"prompt,q:a\n", "has no rows"),
        ("x.txt", b"a,b", "unknown kind of file"),
        ("x.parquet.gz", b"a,b", "unknown kind of file"),
        ("x.xlsx", b"PK", "is a workbook; save the sheet as CSV"),
        ("x.jsonl.gz", b"{}", "is no whole gzip file"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_outcomes([tmp_path / name])


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_outcomes([tmp_path / "absent.parquet"])
    with pytest.raises(DataError, match="no data file"):
        read_outcomes([])
