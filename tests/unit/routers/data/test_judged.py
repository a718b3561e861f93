"""What a decision model said of a query, as files hold it and as the block `judged` reads it."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.dataset import read_outcomes, table_of_records
from routers.embedders.base import make_embedder
from routers.errors import DataError
from routers.features.blocks.judged import JUDGED_COLUMNS
from routers.features.featurizer import Featurizer
from routers.types import Conversation, Message, Role

SAID = {"level": {"easy": 0.25, "hard": 0.75}, "kind": {"code": 1.0}}
LINE = {"query_id": "1", "prompt": "Why?", "decision_model": SAID, "model": "a", "quality": 1.0}
CHANCES = (0.0, 0.25, 0.0, 0.75)


@pytest.fixture(scope="module")
def featurizer():
    return Featurizer(make_embedder("static", {}), ("judged",))


def judged(table):
    return [conversation.judged for conversation in table.conversations]


def test_lines_and_tables_hold_it(tmp_path):
    assert judged(table_of_records([LINE])) == [CHANCES]
    bare = {key: each for key, each in LINE.items() if key != "decision_model"}
    assert judged(table_of_records([bare])) == [()]
    path = tmp_path / "outcomes.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, LINE.keys())
        writer.writeheader()
        writer.writerow({**LINE, "decision_model": json.dumps(SAID)})
    assert judged(read_outcomes([path])) == [CHANCES]
    for name, columns in {
        "wide": {"q:a": [0.9, 0.2]},
        "long": {"model": ["a", "a"], "quality": [0.9, 0.2]},
    }.items():
        for told in ([json.dumps(SAID), None], [{"level": SAID["level"]}, {"level": {"easy": 1}}]):
            path = tmp_path / f"{name}.parquet"
            columns |= {"query_id": ["1", "2"], "prompt": ["Why?", "How?"], "decision_model": told}
            pq.write_table(pa.table(columns), path)
            second = () if told[1] is None else (0.0, 1.0, 0.0, 0.0)
            assert judged(read_outcomes([path])) == [CHANCES, second]


@pytest.mark.parametrize(
    "said", ["hard", "{}", 7, [], {"level": {"gigantic": 1}}, {"level": {"hard": -1}}]
)
def test_what_says_nothing_is_refused_where_it_stands(tmp_path, said):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps({**LINE, 'decision_model': said})}\n")
    with pytest.raises(DataError, match=r"line 2: 'decision_model' must be an object"):
        read_outcomes([path])


def test_the_block_tells_the_chances_and_what_they_come_to(featurizer):
    prompt = (Message(Role.USER, "Why?"),)
    turns = (Message(Role.SYSTEM, "Be brief."), *prompt, Message(Role.ASSISTANT, "So."), *prompt)
    x = featurizer.transform(
        [Conversation(prompt, judged=CHANCES), Conversation(turns, judged=CHANCES)]
    )
    np.testing.assert_allclose(x, [(*CHANCES, 0.25 / 3 + 0.75, 1.0)] * 2, rtol=1e-6)
    assert x.shape[1] == len(JUDGED_COLUMNS)


def test_where_nobody_said_anything_it_is_neutral(featurizer):
    x = featurizer.transform([Conversation.of("Why?")])
    np.testing.assert_allclose(x, [(0.25, 0.25, 0.25, 0.25, 0.5, 0.0)], rtol=1e-6)
    assert featurizer.transform([]).shape == (0, len(JUDGED_COLUMNS))
