import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.artifact.load import load_artifact
from routers.errors import DataError, RoutingConfigError
from routers.evaluation.policy import Policy, replay
from routers.evaluation.policy_file import read_policy
from routers.evaluation.policy_report import report, write_decisions
from routers.evaluation.scene import NOBODY, Ceilings
from routers.options import build
from routers.steps import Delegate, Draft, Refuse, Serve
from routers.training.fit import fit
from routers.training.recipe import Recipe
from routers.workflows.base import WORKFLOWS, Workflow
from tests.support.answers import USD, write_answered
from tests.support.outcomes import write_outcomes

MINI, SMALL, LARGE = range(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_answered(tmp_path_factory.mktemp("answered"))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    recipe = Recipe(
        options={"quality_head": {"kind": "linear"}, "tokens_head": {"kind": "linear"}},
        embedder={"kind": "hashing", "options": {"dimensions": 32}},
        blocks=("embedding", "lexical"),
        calibration_folds=2,
    )
    data = [write_outcomes(folder / "data.parquet")]
    fit(data, folder / "router", recipe=recipe, created_at="", steelyard_version="0")
    return load_artifact(folder / "router")


def agree(**options):
    given = {"models": ["mini", "small"], "last": "large", "normaliser": "option", **options}
    return build(WORKFLOWS.get("agree"), given, noun="workflow")


def on(files, workflow, *, cost_quality=(0.0, 1.0), **policy):
    data, answers = files
    return replay(Policy(workflow=workflow, **policy), [data], [answers], cost_quality=cost_quality)


def test_agreement_is_replayed_with_its_calls_costs_and_latencies(files):
    replayed = on(files, agree())
    first = replayed.positions[0]
    answers = pq.read_table(files[1]).to_pydict()
    same = np.array(answers["a:mini"])[::-1] == np.array(answers["a:small"])[::-1]
    assert [each == (MINI, SMALL) for each in first.calls] == same.tolist()
    assert set(first.calls) == {(MINI, SMALL), (MINI, SMALL, LARGE)}
    assert (first.served == LARGE).tolist() == (~same).tolist()
    both = USD["mini"] + USD["small"]
    np.testing.assert_allclose(first.cost_usd, np.where(same, both, both + USD["large"]))
    # The two are asked at the same time; a latency is half a second and 50 tokens a second.
    np.testing.assert_allclose(first.latency_s, np.where(same, 2.5, 7.0))
    np.testing.assert_allclose(first.latency_sum_s, np.where(same, 4.0, 8.5))


def test_what_agrees_is_better_than_single_choice_at_equal_cost(files):
    found = report(on(files, agree()), n_draws=300)
    (first, second) = found["positions"]
    assert first["over_single_choice"]["low"] > 0.05
    assert found["aiq_over_single_choice"]["low"] > 0.05
    assert first["quality"] == second["quality"]
    assert found["best_single"]["model"] == "large"
    assert found["best_quality"]["quality"] > found["best_single"]["quality"]
    cheap, whole = found["cost_to_match"]
    assert cheap["usd_per_1000"] < 0.8 * cheap["usd_per_1000_single_choice"]
    assert whole["usd_per_1000_single_choice"] == pytest.approx(1.0)
    assert 2 < first["calls"] < 3
    assert found["latency"] == "assumed"


def test_deciding_reads_no_quality(files, tmp_path):
    columns = pq.read_table(files[0]).to_pydict()
    rng = np.random.default_rng(0)
    for name in columns:
        if name.startswith("q:"):
            columns[name] = rng.permutation(columns[name])
    permuted = tmp_path / "permuted.parquet"
    pq.write_table(pa.table(columns), permuted)
    written = []
    for data in (files[0], permuted):
        replayed = on((data, files[1]), agree())
        out = tmp_path / f"{data.stem}-out.parquet"
        assert write_decisions(replayed, out) == 600
        written.append(pq.read_table(out))
    assert written[0].equals(written[1])
    assert written[0].column_names == ["query_id", "knob", "calls", "served"]
    assert written[0].slice(0, 2)["query_id"].to_pylist() == ["q0", "q0"]
    assert written[0].slice(0, 2)["knob"].to_pylist() == [0.0, 1.0]


def test_answers_that_stand_beside_outcomes_give_the_same(files, tmp_path):
    outcomes, answers = (pq.read_table(path) for path in files)
    order = pa.array(range(len(answers) - 1, -1, -1))
    beside = answers.take(order).drop_columns("query_id")
    for name in beside.column_names:
        outcomes = outcomes.append_column(name, beside[name])
    pq.write_table(outcomes, tmp_path / "one.parquet")
    policy = Policy(workflow=agree())
    replayed = replay(policy, [tmp_path / "one.parquet"], cost_quality=[0.0])
    assert replayed.positions[0].calls == on(files, agree()).positions[0].calls


def test_without_a_workflow_single_choice_is_replayed(files, tmp_path):
    replayed = on(files, None, default_model="small")
    assert set(replayed.positions[0].calls) == {(SMALL,)}
    found = report(replayed, n_draws=100)
    assert found["workflow"] is None
    assert found["positions"][0]["calls"] == 1
    assert any("single choice" in note for note in found["notes"])


def test_an_artifact_is_replayed_at_every_position_of_its_knob(artifact, tmp_path):
    data = write_outcomes(tmp_path / "data.parquet", seed=7)
    policy = Policy(artifact=artifact)
    replayed = replay(policy, [data], cost_quality=(0.0, 0.5, 1.0))
    dear = [float((each.served == 1).mean()) for each in replayed.positions]
    assert dear[0] < dear[1] < dear[2]
    cheapest = [each.cost_usd.mean() for each in replayed.positions]
    assert cheapest == sorted(cheapest)
    found = report(replayed, n_draws=200)
    assert found["artifact_version"] == artifact.version
    # The same choices on both sides: mixtures of them are no better than they are.
    assert found["aiq_over_single_choice"]["value"] == pytest.approx(0, abs=0.02)
    assert [each["share_of_gap"]["value"] for each in found["positions"]][::2] == [0, 1]


@dataclasses.dataclass(kw_only=True)
class _Script(Workflow):
    """Takes the steps that a test wants."""

    kind = "script"
    heeds_knob = True
    steps: tuple = ()
    end: object = None

    def run(self, task):
        answers = ()
        for step in self.steps:
            answers = yield (step,)
        if self.end is not None:
            return self.end
        return Serve(answer=answers[0], by="script", score=task.usd_per_quality)


def test_what_is_refused_is_served_by_nobody_and_worth_nothing(files, tmp_path):
    end = Refuse(by="guard", why="unsafe")
    replayed = on(files, _Script(end=end), cost_quality=(0.0,))
    assert set(replayed.positions[0].served) == {NOBODY}
    found = report(replayed, n_draws=100)
    assert found["positions"][0]["quality"]["value"] == 0
    assert found["positions"][0]["served"] == {"nothing": 1.0}
    write_decisions(replayed, tmp_path / "out.parquet")
    row = pq.read_table(tmp_path / "out.parquet").slice(0, 1).to_pylist()
    assert row == [{"query_id": "q0", "knob": 0.0, "calls": [], "served": None}]


def test_calls_beyond_the_ceiling_are_not_made(files):
    steps = tuple(Draft(model_id=each) for each in ("mini", "small"))
    end = Delegate(model_id="large", by="last_stage")
    replayed = on(
        files, _Script(steps=steps, end=end), cost_quality=(0.0,), ceilings=Ceilings(calls=2)
    )
    assert set(replayed.positions[0].calls) == {(MINI, SMALL)}
    assert set(replayed.positions[0].served) == {SMALL}


def test_ceilings_of_cost_and_time_are_kept(files):
    steps = tuple(Draft(model_id=each) for each in ("mini", "small"))
    end = Delegate(model_id="large", by="last_stage")
    for ceilings in (Ceilings(cost_usd=5e-4), Ceilings(time_s=3.0)):
        replayed = on(files, _Script(steps=steps, end=end), cost_quality=(0.0,), ceilings=ceilings)
        assert set(replayed.positions[0].calls) == {(MINI, SMALL)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"workflow": {"kind": "agreee"}}, "unknown workflow 'agreee'; known: agents, agree"),
        ({"workflow": {}}, "needs its kind, one of: agents, agree"),
        ({"workflow": {"kind": "agree", "quorun": 2}}, "option 'quorun' of workflow 'agree'"),
        ({"workflows": {}}, "p.yaml: workflows: Extra inputs"),
        ({"max_calls": 0}, "p.yaml: max_calls"),
        ([], "p.yaml: the file"),
    ],
)
def test_policy_files_are_checked(tmp_path, content, told):
    with pytest.raises(RoutingConfigError, match=told):
        read_policy(tmp_path / "p.yaml", content)


def test_policy_files_name_what_is_replayed(files, tmp_path):
    content = {
        "workflow": {"kind": "best_of", "models": ["mini", "small"]},
        "candidates": ["mini", "small"],
        "default_model": "small",
        "max_calls": 3,
    }
    policy = read_policy(tmp_path / "p.yaml", content)
    assert policy.workflow.kind == "best-of"
    assert (policy.candidate_names, policy.ceilings) == (("mini", "small"), Ceilings(calls=3))
    replayed = replay(policy, [files[0]], [files[1]], cost_quality=[1.0])
    assert replayed.rows.models == ("mini", "small")


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"candidate_names": ("mini", "huge")}, "chooses from huge, of which the outcomes know"),
        ({"default_model": "huge"}, "default_model huge is not among mini, small, large"),
        ({"candidate_names": ("mini", "small")}, "cannot work: it calls 'large'"),
    ],
)
def test_policies_that_cannot_work_are_refused(files, policy, told):
    with pytest.raises(DataError, match=told):
        on(files, agree(), **policy)
