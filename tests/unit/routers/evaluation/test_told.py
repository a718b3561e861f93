"""Judges, votes and further answers in a replay: what was recorded of them, and what was not."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.data.answers import read_answers
from routers.data.dataset import read_outcomes
from routers.errors import DataError
from routers.evaluation.policy import Policy, replay
from routers.evaluation.policy_report import report, write_decisions
from routers.models import Prices
from routers.steps import Draft, Purpose, Question, Serve
from routers.workflows.base import Workflow, make_workflow
from tests.support.answers import TOKENS, USD, write_answered

N = 60
JUDGED = {"kind": "judge", "model": "judge"}
CASCADE = {"kind": "cascade", "stages": ["mini", "large"], "acceptor": JUDGED}
BEST = {"kind": "best_of", "model": "mini", "n": 3, "normaliser": "option"}


@pytest.fixture
def files(tmp_path):
    return write_answered(tmp_path, n=N)


def with_columns(path, columns):
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)


def played(files, workflow, **policy):
    data, answers = files
    if not isinstance(workflow, Workflow):
        workflow = make_workflow(workflow)
    return replay(Policy(workflow=workflow, **policy), [data], [answers], cost_quality=[0.0])


def graded(files):
    """Write judge's scores beside answers, in their order: the last third is found bad."""
    scores = np.where(np.arange(N) < N / 3, 0.2, 0.9)
    with_columns(files[1], {"j:mini": scores})
    return scores[::-1] < 0.5


def test_a_judge_says_what_was_recorded(files, tmp_path):
    bad = graded(files)
    replayed = played(files, CASCADE)
    (position,) = replayed.positions
    assert [len(each) for each in position.calls] == np.where(bad, 3, 2).tolist()
    np.testing.assert_allclose(
        position.cost_usd, np.where(bad, USD["mini"] + USD["large"], USD["mini"])
    )
    (note,) = [each for each in report(replayed, n_draws=50)["notes"] if "recorded scores" in each]
    assert note.startswith(f"{N} questions about answers")
    assert f"{N} of them, whose model has no known price, cost nothing" in note
    write_decisions(replayed, tmp_path / "out.parquet")
    calls = pq.read_table(tmp_path / "out.parquet")["calls"].to_pylist()
    assert calls[int(np.argmax(bad))] == ["mini", "judge", "large"]


def test_a_judge_whose_price_is_known_is_paid(files):
    bad = graded(files)
    prices = Prices(input_usd_per_mtok=1e6, output_usd_per_mtok=0.0)
    (position,) = played(files, CASCADE, others={"judge": prices}).positions
    paid = position.cost_usd - USD["mini"] - np.where(bad, USD["large"], 0)
    assert (paid > TOKENS["mini"]).all()  # the answer, and the question


@pytest.mark.parametrize(
    ("threshold", "n_calls"), [({"least_chance": 0.95}, 3), ({"least_chance": 0.9 - 1e-9}, 2)]
)
def test_what_a_judge_says_is_the_chance_that_was_recorded(files, threshold, n_calls):
    with_columns(files[1], {"j:mini": np.full(N, 0.9)})
    acceptor = {**JUDGED, **threshold}
    (position,) = played(files, {**CASCADE, "acceptor": acceptor}).positions
    assert set(map(len, position.calls)) == {n_calls}


def test_a_judge_of_which_nothing_was_recorded_ends_the_replay(files):
    with pytest.raises(DataError, match=r"asks judge to judge the answer of mini.*add the score"):
        played(files, CASCADE)
    with_columns(files[1], {"j:mini": [None, *[0.5] * (N - 1)]})
    with pytest.raises(DataError, match=f"query_id q{N - 1}, which nobody recorded"):
        played(files, CASCADE)


class Voting(Workflow):
    """Asks a model for votes on its own answer, and has the large one called where most say no."""

    kind = "voting"

    def run(self, task):
        del task
        (draft,) = yield (Draft(model_id="mini"),)
        question = Question(
            model_id="mini",
            messages=(),
            max_tokens=1,
            purpose=Purpose.JUDGE,
            about=draft.number,
        )
        replies = yield (question,) * 8
        self.heard.append([each.text for each in replies].count("Correct"))
        return Serve(answer=draft, by="votes")


def test_votes_on_its_own_answer_are_as_many_as_were_recorded(files):
    shares = np.arange(N) % 9 / 8
    with_columns(files[1], {"v:mini": shares})
    workflow = Voting()
    workflow.heard = []
    played(files, workflow)
    assert workflow.heard == (shares[::-1] * 8).astype(int).tolist()


def test_votes_that_nobody_recorded_end_the_replay(files):
    workflow = Voting()
    workflow.heard = []
    with pytest.raises(DataError, match=r"v:mini, in JSONL 'verified'"):
        played(files, workflow)


def test_further_answers_are_called_paid_and_worth_what_stands_beside_them(files):
    letters = np.full(N, "J")
    quality = np.linspace(0, 1, N)
    further = {f"a:mini#{k}": letters for k in (2, 3)} | {f"q:mini#{k}": quality for k in (2, 3)}
    with_columns(files[1], further)
    (position,) = played(files, BEST).positions
    assert set(position.calls) == {(0, 0, 0)}
    np.testing.assert_allclose(position.cost_usd, 3 * USD["mini"])
    first = np.array(pq.read_table(files[1])["a:mini"])[::-1]
    own = position.own_quality[first != "J"]
    np.testing.assert_allclose(own, quality[::-1][first != "J"])


def test_deciding_reads_no_quality_of_further_answers(files, tmp_path):
    graded(files)
    written = []
    for quality in (0.0, 1.0):
        folder = tmp_path / str(quality)
        folder.mkdir()
        both = [folder / path.name for path in files]
        for path, copy in zip(files, both, strict=True):
            pq.write_table(pq.read_table(path), copy)
        further = {f"a:mini#{k}": np.full(N, "J") for k in (2, 3)}
        worth = {f"q:mini#{k}": np.full(N, quality) for k in (2, 3)}
        with_columns(both[1], further | worth)
        write_decisions(played(both, BEST), folder / "out.parquet")
        written.append(pq.read_table(folder / "out.parquet"))
    assert written[0].equals(written[1])


def test_further_answers_that_nobody_recorded_or_graded_end_the_replay(files):
    with pytest.raises(DataError, match=r"asks mini for answer 2 to query_id q0.*a:mini#2"):
        played(files, BEST)
    with_columns(files[1], {f"a:mini#{k}": np.full(N, "J") for k in (2, 3)})
    with pytest.raises(DataError, match=r"nobody told what it is worth.*q:mini#"):
        played(files, BEST)


def test_log_probabilities_are_those_that_were_recorded(files):
    acceptor = {"kind": "logprobs", "least_mean": -0.5}
    with pytest.raises(DataError, match=r"log-probabilities of answers.*p:MODEL"):
        played(files, {**CASCADE, "acceptor": acceptor})
    means = np.where(np.arange(N) % 2, -0.1, -2.0)
    with_columns(files[1], {"p:mini": means})
    (position,) = played(files, {**CASCADE, "acceptor": acceptor}).positions
    assert [len(each) for each in position.calls] == np.where(means[::-1] < -0.5, 2, 1).tolist()


@pytest.mark.parametrize(
    ("workflow", "told"),
    [
        ({"kind": "rounds", "planner": "judge"}, "asks judge as a planner"),
        ({"kind": "guarded", "slow": {"model": "judge"}, "then": CASCADE}, "asks judge as a guard"),
    ],
)
def test_what_nobody_can_have_recorded_ends_the_replay(files, workflow, told):
    with pytest.raises(DataError, match=f"{told}.*cannot be replayed"):
        played(files, workflow)


# --- files --------------------------------------------------------------------------------------


def test_further_answers_in_lines_are_told_in_their_order(tmp_path):
    lines = [
        {"query_id": "q", "prompt": "?", "model": "m", "quality": quality, "text": text}
        for quality, text in ((1.0, "one"), (0.0, "two"), (0.5, "three"))
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps({**each, "judged": 0.5}) for each in lines))
    table = read_outcomes([path])
    answers = read_answers(table, [path])
    told = [answers, *answers.further]
    assert [each.texts[0, 0] for each in told] == ["one", "two", "three"]
    assert [each.quality[0, 0] for each in told] == [1.0, 0.0, 0.5]
    assert [each.judged[0, 0] for each in told] == [0.5] * 3
    assert table.quality[0, 0] == 0.5
    assert len(answers.rows([0]).columns(["m"]).further) == 2


def test_what_further_answers_are_worth_is_averaged_in_wide_outcomes(files):
    with_columns(files[0], {"q:mini#2": np.zeros(N), "q:mini#3": np.zeros(N)})
    table = read_outcomes([files[0]])
    assert table.models == ("mini", "small", "large")
    first = np.array(pq.read_table(files[0])["q:mini"])
    np.testing.assert_allclose(table.quality[:, 0], first / 3)
    np.testing.assert_allclose(table.samples[:, 0], np.stack([first, 0 * first, 0 * first], axis=1))


def test_a_model_whose_name_ends_like_a_further_answer_is_one(files):
    for path in files:
        names = [name.replace("large", "gpt#2") for name in pq.read_table(path).column_names]
        pq.write_table(pq.read_table(path).rename_columns(names), path)
    table = read_outcomes([files[0]])
    assert table.models == ("mini", "small", "gpt#2")
    assert read_answers(table, [], [files[1]]).further == ()


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"j:mini": 1.5}, "column 'j:mini' is 1.5; it must be between 0 and 1"),
        ({"v:mini": -0.5}, "column 'v:mini' is -0.5; it must be between 0 and 1"),
        ({"p:mini": 0.5}, "column 'p:mini' is 0.5; it must be finite and at most 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(files, columns, told):
    with_columns(files[1], {name: np.full(N, value) for name, value in columns.items()})
    with pytest.raises(DataError, match=told):
        played(files, CASCADE)
