import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.answers import read_answers
from routers.data.convert import convert
from routers.data.dataset import read_outcomes
from routers.errors import DataError


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def write_jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


OUTCOMES = {
    "query_id": ["1", "2"],
    "prompt": ["What is 1+1?", "What is 2+2?"],
    "q:a": [1.0, 0.0],
    "q:b": [1.0, 1.0],
}
ANSWERS = {
    "query_id": ["2", "1"],
    "a:a": ["5", "2"],
    "a:b": ["4", ""],
    "x:b": ["It is 4.", "Who knows?"],
}


@pytest.fixture
def data(tmp_path):
    return [write_parquet(tmp_path / "outcomes.parquet", **OUTCOMES)]


def test_answers_of_their_own_file_are_joined_by_id(tmp_path, data):
    path = write_parquet(tmp_path / "answers.parquet", **ANSWERS)
    found = read_answers(read_outcomes(data), data, [path])
    assert found.models == ("a", "b")
    assert found.literals.tolist() == [["2", ""], ["5", "4"]]
    assert found.texts.tolist() == [[None, "Who knows?"], [None, "It is 4."]]


def test_further_queries_and_models_are_left_aside(tmp_path, data):
    more = {
        "query_id": ["3", "2", "1"],
        "a:c": ["x", "y", "z"],
        "a:a": ["0", "5", "2"],
        "a:b": ["0", "4", "2"],
    }
    path = write_parquet(tmp_path / "answers.parquet", **more)
    found = read_answers(read_outcomes(data), data, [path])
    assert found.literals.tolist() == [["2", "2"], ["5", "4"]]
    assert found.texts is None


def test_answers_stand_beside_outcomes_in_a_wide_table(tmp_path):
    beside = {"a:a": ["2", "5"], "x:b": pa.array(["It is 2.", None])}
    path = write_parquet(tmp_path / "w.parquet", **OUTCOMES, **beside)
    found = read_answers(read_outcomes([path]), [path])
    assert found.literals.tolist() == [["2", None], ["5", None]]
    assert found.texts.tolist() == [[None, "It is 2."], [None, None]]


def test_answers_stand_beside_outcomes_in_lines(tmp_path):
    line = {"query_id": 1, "prompt": "What is 1+1?", "quality": 1.0}
    path = write_jsonl(
        tmp_path / "o.jsonl",
        line | {"model": "a", "answer": "2", "text": "2, of course"},
        line | {"model": "a", "answer": "3"},
        line | {"model": "b", "text": "two"},
        line | {"model": "b", "query_id": 2, "prompt": "What is 2+2?", "answer": "4"},
    )
    found = read_answers(read_outcomes([path]), [path])
    assert found.literals.tolist() == [["2", None], [None, "4"]]
    assert found.texts.tolist() == [["2, of course", "two"], [None, None]]


def test_lines_of_answers_need_neither_prompt_nor_quality(tmp_path, data):
    path = write_jsonl(
        tmp_path / "answers.jsonl",
        {"query_id": 1, "model": "a", "answer": "2"},
        {"query_id": "2", "model": "b", "text": "4"},
    )
    found = read_answers(read_outcomes(data), data, [path])
    assert found.literals.tolist() == [["2", None], [None, None]]
    assert found.texts.tolist() == [[None, None], [None, "4"]]


def test_how_long_answers_took_stands_beside_them(tmp_path, data):
    wide = write_parquet(tmp_path / "a.parquet", **ANSWERS, **{"l:b": [0.5, None]})
    found = read_answers(read_outcomes(data), data, [wide])
    np.testing.assert_array_equal(found.latency_s, [[np.nan, np.nan], [np.nan, 0.5]])
    lines = write_jsonl(
        tmp_path / "a.jsonl",
        {"query_id": 1, "model": "a", "answer": "2", "latency_s": 2},
        {"query_id": 2, "model": "b", "answer": "4"},
    )
    found = read_answers(read_outcomes(data), data, [lines])
    np.testing.assert_array_equal(found.latency_s, [[2, np.nan], [np.nan, np.nan]])


def test_an_answer_that_is_all_of_the_text_is_left_to_be_read(tmp_path, data):
    path = write_jsonl(
        tmp_path / "a.jsonl",
        {"query_id": 1, "model": "a", "answer": "It is 2.", "text": "It is 2."},
        {"query_id": 2, "model": "b", "answer": "", "text": ""},
    )
    found = read_answers(read_outcomes(data), data, [path])
    assert found.literals.tolist() == [[None, None], [None, None]]
    assert found.texts.tolist() == [["It is 2.", None], [None, ""]]


def test_an_id_of_two_prompts_is_told_apart_by_the_prompt_beside_it(tmp_path):
    twice = {**OUTCOMES, "query_id": ["1", "1"], "a:a": ["2", "5"], "a:b": ["2", "4"]}
    path = write_parquet(tmp_path / "w.parquet", **twice)
    table = read_outcomes([path])
    assert read_answers(table, [path]).literals.tolist() == [["2", "2"], ["5", "4"]]
    alone = write_parquet(tmp_path / "a.parquet", **ANSWERS)
    with pytest.raises(DataError, match=r"query_id 1 stands for several prompts.*make ids unique"):
        read_answers(table, [path], [alone])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({**ANSWERS, "query_id": ["2", "9"]}, "1 of 2 queries, such as query_id 1; add them"),
        ({**ANSWERS, "query_id": ["8", "9"]}, "2 of 2 queries, such as query_id 1, 2"),
        ({**ANSWERS, "query_id": ["2", "2"]}, "query_id 2 occurs 2 times"),
        ({"query_id": ["1", "2"]}, "holds no answers"),
        ({"a:a": ["1", "2"]}, "'query_id' is missing"),
        ({"query_id": ["1", "2"], "a:a": [2, 5]}, "row 0, column 'a:a' holds 2 instead of text"),
        (
            {"query_id": ["1", "2"], "a:a": ["2", "5"], "a:B": ["2", "4"]},
            "no answers of b .it has some of B, which the outcomes do not know.; call models alike",
        ),
    ],
)
def test_answers_that_do_not_fit_are_refused(tmp_path, data, columns, told):
    path = write_parquet(tmp_path / "answers.parquet", **columns)
    with pytest.raises(DataError, match=told):
        read_answers(read_outcomes(data), data, [path])


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"query_id": "1", "model": "a", "answer": 2}, "line 1: 'answer' must be a text, got 2"),
        ({"query_id": "1", "model": "a", "text": ["x"]}, "line 1: 'text' must be a text"),
        ({"query_id": "1", "answer": "2"}, "line 1: 'model' must be a text"),
        ({"model": "a", "answer": "2"}, "line 1: 'query_id' must be a text"),
        ({"query_id": "1", "model": "a"}, "holds no answers"),
        (
            {"query_id": "1", "model": "a", "answer": "2", "latency_s": -1},
            "line 1: 'latency_s' is -1; it must be finite",
        ),
    ],
)
def test_lines_that_do_not_fit_are_refused(tmp_path, data, record, told):
    path = write_jsonl(tmp_path / "answers.jsonl", record)
    with pytest.raises(DataError, match=told):
        read_answers(read_outcomes(data), data, [path])


def test_outcomes_without_answers_ask_for_a_file_of_answers(data):
    with pytest.raises(DataError, match=r"outcomes\.parquet: holds no answers.*--answers"):
        read_answers(read_outcomes(data), data)


def test_answers_without_outcomes_of_the_model_beside_them_are_refused(tmp_path):
    path = write_parquet(tmp_path / "w.parquet", **OUTCOMES, **{"a:c": ["2", "5"]})
    with pytest.raises(DataError, match="column 'a:c' has no 'q:c' beside it"):
        read_answers(read_outcomes([path]), [path])


def test_answers_of_another_kind_of_file_are_refused(tmp_path, data):
    with pytest.raises(DataError, match="unknown kind of file; give answers"):
        read_answers(read_outcomes(data), data, [tmp_path / "answers.csv"])


def test_lines_of_answers_become_columns(tmp_path):
    line = {"query_id": 1, "prompt": "What is 1+1?", "quality": 1.0}
    path = write_jsonl(
        tmp_path / "o.jsonl",
        line | {"model": "a", "answer": "2", "text": "2, of course", "latency_s": 0.5},
        line | {"model": "a", "answer": "3", "text": "3, of course", "latency_s": 1.5},
        line | {"model": "b", "answer": "It is 2.", "text": "It is 2."},
    )
    out = tmp_path / "w.parquet"
    convert("jsonl", path, out)
    found = read_answers(read_outcomes([out]), [out])
    assert found.literals.tolist() == [["2", None]]
    assert found.texts.tolist() == [["2, of course", "It is 2."]]
    np.testing.assert_array_equal(found.latency_s, [[0.5, np.nan]])
    (further,) = found.further
    assert further.texts.tolist() == [["3, of course", None]]
    np.testing.assert_array_equal(further.latency_s, [[1.5, np.nan]])


def test_what_is_no_text_does_not_become_a_column(tmp_path):
    line = {"query_id": 1, "prompt": "?", "quality": 1.0, "model": "a", "text": ["x"]}
    path = write_jsonl(tmp_path / "o.jsonl", line)
    with pytest.raises(DataError, match="record 0: 'text' must be a text"):
        convert("jsonl", path, tmp_path / "w.parquet")


def test_votes_of_models_on_their_own_answers_are_shares(tmp_path, data):
    wide = write_parquet(tmp_path / "votes.parquet", **ANSWERS, **{"v:a": [0.25, None]})
    found = read_answers(read_outcomes(data), data, [wide])
    np.testing.assert_array_equal(found.verified, [[np.nan, np.nan], [0.25, np.nan]])
    lines = write_jsonl(
        tmp_path / "votes.jsonl",
        {"query_id": "1", "model": "a", "answer": "2", "verified": 1},
        {"query_id": "2", "model": "a", "answer": "5", "verified": 0.125},
        {"query_id": "1", "model": "b", "answer": "2"},
    )
    found = read_answers(read_outcomes(data), data, [lines])
    np.testing.assert_array_equal(found.verified, [[1, np.nan], [0.125, np.nan]])
    plain = write_parquet(tmp_path / "answers.parquet", **ANSWERS)
    assert read_answers(read_outcomes(data), data, [plain]).verified is None


def test_a_share_of_votes_above_one_is_refused(tmp_path, data):
    path = write_parquet(tmp_path / "votes.parquet", **ANSWERS, **{"v:a": [1.5, 0.5]})
    with pytest.raises(DataError, match="v:a"):
        read_answers(read_outcomes(data), data, [path])
