import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.dataset import read_outcomes, table_of_records
from routers.data.doubts import doubts
from routers.errors import DataError
from routers.evaluation.crossfit import numbered_prompts
from routers.text.token_estimate import estimate_tokens

LINE = {
    "query_id": "1",
    "prompt": "Who built it?",
    "documents": [{"text": "Bonanno built it.", "score": 0.9}],
    "model": "a",
    "quality": 0.9,
    "quality_without": 0.2,
}


def rows(table):
    return [
        (len(conversation.documents), *map(float, quality))
        for conversation, quality in zip(table.conversations, table.quality, strict=True)
    ]


def write_jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_one_line_tells_both_settings_apart():
    table = table_of_records(
        [LINE, {**LINE, "model": "b", "quality": 0.5, "quality_without": None}]
    )
    assert table.models == ("a", "b")
    np.testing.assert_allclose(rows(table)[0], (1, 0.9, 0.5), rtol=1e-6)
    assert rows(table)[1][:2] == pytest.approx((0, 0.2))
    assert np.isnan(table.quality[1, 1])
    assert table.conversations[0].documents[0].score == 0.9


def test_so_do_two_lines():
    bare = {key: LINE[key] for key in ("query_id", "prompt", "model")}
    plain = {key: each for key, each in LINE.items() if key != "quality_without"}
    table = table_of_records([plain, {**bare, "quality": 0.2}])
    assert rows(table) == rows(table_of_records([LINE]))


def test_other_documents_make_another_query_and_the_same_prompt():
    other = {**LINE, "documents": ["Nobody knows."], "quality_without": None}
    table = table_of_records([LINE, other])
    assert [each[0] for each in rows(table)] == [1, 0, 1]
    assert set(numbered_prompts(table.conversations)) == {0}
    assert not any("different prompts" in each for each in doubts(table))


def test_documents_are_paid_for():
    table = table_of_records([LINE])
    with_them, without = table.input_tokens
    assert with_them - without == pytest.approx(estimate_tokens("Bonanno built it."), abs=1)


def test_wide_records_name_what_is_known_without_documents():
    wide = {**{k: LINE[k] for k in ("query_id", "prompt", "documents")}, "q:a": 0.9, "qw:a": 0.2}
    assert rows(table_of_records([wide])) == rows(table_of_records([LINE]))


def test_tables_hold_them_as_json(tmp_path):
    told = json.dumps(LINE["documents"])
    path = tmp_path / "outcomes.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, LINE.keys())
        writer.writeheader()
        writer.writerow({**LINE, "documents": told})
    assert rows(read_outcomes([path])) == rows(table_of_records([LINE]))
    wide = tmp_path / "wide.parquet"
    columns = {
        "query_id": ["1", "1"],
        "prompt": [LINE["prompt"]] * 2,
        "documents": [told, None],
        "q:a": [0.9, 0.2],
    }
    pq.write_table(pa.table(columns), wide)
    assert rows(read_outcomes([wide])) == rows(table_of_records([LINE]))


@pytest.mark.parametrize("documents", ["no JSON", "{}", [1], [{"title": "t"}], 7])
def test_what_is_no_document_is_refused_where_it_stands(tmp_path, documents):
    path = write_jsonl(tmp_path / "bad.jsonl", LINE, {**LINE, "documents": documents})
    with pytest.raises(DataError, match=r"line 2: 'documents' "):
        read_outcomes([path])
