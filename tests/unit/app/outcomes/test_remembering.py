"""Which ratings of a decision log a router takes in, and that it takes each in once."""

import json
import sqlite3

import numpy as np
import pytest

from app.outcomes.feedback import ADMIN
from app.outcomes.remembering import FeedbackRule, Memories, Remembering, SqliteRated
from app.outcomes.rows import ContentRow, Label, LabelKind, OutcomeRow
from app.outcomes.sqlite import SqliteOutcomes
from routers.artifact.load import load_artifact
from routers.heads.base import HeadConfig
from routers.training.fit import fit
from routers.training.recipe import EmbedderRecipe, Recipe
from tests.support.clusters import MODELS, write_clusters

N_ROWS = 40
COLUMNS = {("default", model): column for column, model in enumerate(MODELS)}


class Log:
    """A decision log that a test writes."""

    def __init__(self, data_dir):
        self.sink = SqliteOutcomes(data_dir)
        self.sink.open()
        self.n = 0

    def answer(self, *, model="mini", content=None, policy="default", status=200):
        """Log an answer to a prompt of its own; return its decision id."""
        self.n += 1
        name = f"d{self.n:04}"
        text = {"messages": [{"role": "user", "content": f"prompt {name}"}], "answer": "x"}
        row = dict.fromkeys(OutcomeRow.__struct_fields__) | {
            "request_id": f"r-{name}",
            "decision_id": name,
            "time": 1.0,
            "policy": policy,
            "policy_version": "v",
            "model": model,
            "status": status,
            "estimated": False,
            "stream": False,
            "decide_s": 0.0,
            "overhead_s": 0.0,
            "duration_s": 0.0,
            "output_tokens": 7,
        }
        said = json.dumps(text).encode() if content is None else content
        rows = [OutcomeRow(**row)]
        if said:
            rows.append(ContentRow(decision_id=name, expires_at=1e12, content=said))
        self.sink.write(rows)
        return name

    def rate(self, name, quality=1.0, *, at, by="key-1", other="", kind=LabelKind.SCORE):
        label = Label(
            decision_id=name,
            other_decision_id=other,
            kind=kind,
            quality=quality,
            labelled_by=by,
            time=at,
        )
        self.sink.label(label, max_changes=10)


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path)
    yield log
    log.sink.close()


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    head = HeadConfig(kind="knn", options={"n_neighbors": 3})
    recipe = Recipe(
        strategy="carrot",
        options={"quality_head": head, "tokens_head": head, "shrink_unfamiliar": False},
        embedder=EmbedderRecipe(kind="hashing", options={"dimensions": 32}),
        blocks=("embedding",),
        calibration_folds=2,
        abstain=False,
    )
    data = [write_clusters(folder / "rows.jsonl", n=N_ROWS, seed=0)]
    return fit(data, folder / "out", recipe=recipe, created_at="", steelyard_version="").path


@pytest.fixture
def learn(router, tmp_path):
    """Return a router that believes feedback; call it to have it look at the log."""

    def learn(now=1000.0, max_rows=100, max_per_key=100, settle_s=10.0):
        rule = FeedbackRule(max_rows=max_rows, max_per_key=max_per_key, settle_s=settle_s)
        artifact = load_artifact(router)
        columns = {name: artifact.models.index(name[1]) for name in COLUMNS}
        found = Remembering(router="r", artifact=artifact, columns=columns, rule=rule)
        look(found, tmp_path, now=now)
        return found

    return learn


def look(remembering, data_dir, *, now):
    remembering.take_in(SqliteRated(data_dir), now=now, stopped=lambda: False)


def n_live(remembering):
    return remembering.artifact.router.quality_.rows_.n_live


def test_a_rating_is_remembered_once_of_the_model_that_answered(log, learn, tmp_path):
    log.rate(name := log.answer(model="mid"), 0.75, at=100)
    found = learn()
    assert (found.n_rows, n_live(found)) == (1, N_ROWS + 1)
    row = found.artifact.router.quality_.rows_.y[-1]
    column = found.artifact.models.index("mid")
    assert row[column] == 0.75
    assert np.isfinite(row).sum() == 1  # nothing is said of the others
    look(found, tmp_path, now=2000.0)
    log.rate(name, 0.25, at=1500)  # its owner thinks otherwise now: after the next start
    look(found, tmp_path, now=3000.0)
    assert (found.n_rows, n_live(found)) == (1, N_ROWS + 1)
    assert learn(now=3000.0).artifact.router.quality_.rows_.y[-1][column] == 0.25


def test_a_rating_counts_when_it_has_settled(log, learn, tmp_path):
    log.rate(log.answer(), at=995)
    found = learn(now=1000.0)
    assert found.n_rows == 0
    look(found, tmp_path, now=1005.0)
    assert found.n_rows == 1


def test_no_more_are_remembered_than_may_be_the_newest_first(log, learn, tmp_path):
    for i in range(50):
        log.rate(log.answer(), i / 50, at=100 + i)
    found = learn(max_rows=20)
    column = found.artifact.models.index("mini")
    told = found.artifact.router.quality_.rows_.y[N_ROWS:, column]
    assert told.tolist() == pytest.approx([i / 50 for i in range(30, 50)])
    log.rate(log.answer(), at=1500)
    look(found, tmp_path, now=2000.0)
    assert (found.n_rows, n_live(found)) == (20, N_ROWS + 20)


def test_a_key_has_its_share_and_the_operator_is_not_counted(log, learn, tmp_path):
    for i in range(9):
        log.rate(log.answer(), at=100 + i, by=f"key-{i % 2}")
        log.rate(log.answer(), at=200 + i, by=ADMIN)
    found = learn(max_per_key=3)
    assert (found.n_rows, found.n_left_out) == (3 + 3 + 9, 3)
    log.rate(log.answer(), at=1500, by="key-0")
    log.rate(log.answer(), at=1501, by="key-2")
    look(found, tmp_path, now=2000.0)
    assert (found.n_rows, found.n_left_out) == (16, 4)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"messages": []}', b'{"messages": [{"role": "x"}]}'],
    ids=["not-kept", "no-json", "a-list", "no-messages", "an-unknown-role"],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(content, log, learn):
    log.rate(log.answer(content=content), at=100)
    log.rate(log.answer(), at=101)
    found = learn()
    assert (found.n_rows, found.n_left_out) == (1, 1)


def test_what_is_no_rating_of_a_known_model_teaches_nothing(log, learn):
    log.rate(log.answer(model="stranger"), at=100)
    log.rate(log.answer(policy="another"), at=100)
    log.rate(log.answer(status=500), at=100)
    log.rate(log.answer(), at=100, other=log.answer(), kind=LabelKind.PREFERENCE)
    log.answer()  # nobody said what it was worth
    found = learn()
    assert (found.n_rows, found.n_left_out) == (0, 0)


def test_a_log_that_cannot_be_read_is_looked_at_again(router, tmp_path, caplog):
    rule = FeedbackRule(max_rows=9, max_per_key=9, settle_s=1.0)
    artifact = load_artifact(router)
    found = Remembering(router="r", artifact=artifact, columns=COLUMNS, rule=rule)
    memories = Memories(SqliteRated(tmp_path), now=lambda: 1000.0)
    memories.follow([found])
    memories.take_in()
    assert "router r cannot read feedback now" in caplog.text
    log = Log(tmp_path)
    log.rate(log.answer(), at=100)
    memories.take_in()
    log.sink.close()
    assert found.n_rows == 1


def test_reading_ratings_without_a_log_is_an_error(tmp_path):
    with pytest.raises(sqlite3.Error):
        list(SqliteRated(tmp_path).rated(after=0, until=1))
