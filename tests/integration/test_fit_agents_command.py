"""`steelyard fit-agents`: logged runs in, an artifact whose controller a gateway runs out."""

import json
import random

import httpx
import pytest
from click.testing import CliRunner

from app.cli import cli
from routers.artifact.load import load_artifact
from routers.commands import fit_agents
from routers.data.agent_runs import read_agent_runs
from routers.errors import DataError
from routers.types import Conversation
from routers.workflows.teams.controller import MODES, draw
from tests.support.gateway import GatewayThread, stub_config
from tests.support.several import CANDIDATES, LARGE, NANO, Models

EASY, HARD = "What is two plus {}?", "Prove that the sum of {} odd primes is even, step by step."
COST_USD = {"io": 1e-3, "cot": 1e-3, "chain": 4e-3, "full": 4e-3, "debate": 8e-3}
COST_USD["reflection"] = 5e-3


def fit(*arguments):
    return CliRunner().invoke(fit_agents.command, [str(each) for each in arguments])


def write_runs(file, *, n, seed=0):
    """Write runs in which a review helps with proofs only, and the large model a little."""
    rng, lines = random.Random(seed), []
    for i in range(n):
        hard = rng.random() < 0.5
        drawn = draw(
            rng,
            dict.fromkeys(MODES, 1 / len(MODES)),
            {NANO: 0.5, LARGE: 0.5},
            size=2.0,
            most_agents=2,
        )
        right = (0.9 if drawn.mode == "reflection" else 0.3) if hard else 0.9
        right += 0.1 if LARGE in drawn.models else -0.1
        lines.append(
            {
                "prompt": (HARD if hard else EASY).format(i),
                "mode": drawn.mode,
                "agents": list(drawn.models),
                "propensity": drawn.propensity,
                "quality": float(rng.random() < right),
                "cost_usd": COST_USD[drawn.mode],
            }
        )
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    write_runs(folder / "runs.jsonl", n=1_000)
    result = fit(
        *("--artifact", "default", "--data", folder / "runs.jsonl", "--usd-per-quality", 0.05),
        *("--out", folder / "artifact", "--json"),
    )
    assert result.exit_code == 0, result.output
    (folder / "report.json").write_text(result.stdout)
    return folder


def test_it_tells_what_it_learned_and_the_artifact_holds_it(folder):
    report = json.loads((folder / "report.json").read_text())
    assert report["models"] == [LARGE, NANO]
    assert set(report["modes"]) == set(MODES)
    assert report["learned"]["quality"] > report["logged"]["quality"] + 0.05
    artifact = load_artifact(folder / "artifact")
    assert artifact.workflow.kind == "agents"
    assert artifact.workflow.models_ == (LARGE, NANO)
    assert artifact.manifest["metrics"]["agents"]["n_runs"] == 1_000
    again = fit(
        *("--artifact", folder / "artifact", "--data", folder / "runs.jsonl"),
        *("--usd-per-quality", 0.05, "--out", folder / "again"),
    )
    assert again.exit_code == 0, again.output
    assert "reflection" in again.stdout


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("gateway")
    with Models() as models:
        models.reset()
        policy = {
            "router": "team",
            "candidates": CANDIDATES,
            "default_model": LARGE,
            "router_deadline_s": 20.0,
        }
        workflow = {"kind": "agents", "max_agents": 2}
        changes = {
            "upstreams.stub": {"kind": "openai", "base_url": f"{models.url}/v1", "retries": 0},
            "routers": {"team": {"artifact": str(folder / "artifact")}},
            "policies": {
                "team": {**policy, "workflow": workflow},
                "explored": {**policy, "workflow": {**workflow, "floor": 0.1}},
            },
            "default_policy": "team",
        }
        config = stub_config(tmp_path, models.url, changes=changes)
        with (
            GatewayThread(config) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
        ):
            yield client
        models.release.set()


def ask(client, prompt, policy="team"):
    body = {
        "model": f"auto:{policy}",
        "messages": [{"role": "user", "content": prompt}],
        "routing": {"explain": "full"},
    }
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize(("policy", "floor"), [("team", 0.02), ("explored", 0.1)])
def test_a_gateway_draws_by_it_with_true_chances(served, folder, policy, floor):
    artifact = load_artifact(folder / "artifact")
    seen, reviewed = {HARD: [], EASY: []}, {HARD: [], EASY: []}
    for i in range(40):
        kind = (HARD, EASY)[i % 2]
        prompt = kind.format(i)
        told = ask(served, prompt, policy).json()["steelyard"]["workflow"]["notes"]
        x = artifact.featurizer.transform([Conversation.of(prompt)])[0]
        learned = artifact.workflow.learned_
        chances = learned.mode_chances(x, MODES, floor=floor)
        assert told["mode_chance"] == pytest.approx(chances[told["mode"]], rel=1e-6)
        assert min(chances.values()) >= floor - 1e-12
        assert 0 < told["propensity"] <= told["mode_chance"]
        seen[kind].append(told["mode"])
        reviewed[kind].append(chances["reflection"])
    assert min(reviewed[HARD]) > max(reviewed[EASY])
    # As it is drawn: of a half and a sixth, twenty draws each come out the other way round in one
    # run of a hundred; of nine tenths and a sixth never.
    if floor == 0.02:
        assert seen[HARD].count("reflection") > seen[EASY].count("reflection")
    assert len(set(seen[HARD])) > 1 or floor == 0.02


def test_what_was_logged_comes_back_as_runs(tmp_path):
    workflow = {"kind": "agents", "max_agents": 2}
    policy = {"router": "carrot", "candidates": CANDIDATES, "default_model": LARGE}
    asked = []
    with Models() as models:
        models.reset()
        changes = {
            "upstreams.stub": {"kind": "openai", "base_url": f"{models.url}/v1", "retries": 0},
            "policies": {"team": {**policy, "router_deadline_s": 20.0, "workflow": workflow}},
            "default_policy": "team",
            "routers": {"carrot": {"artifact": "default"}},
            "store.data_dir": "data",
            "outcomes.contents": {"enabled": True},
        }
        with (
            GatewayThread(stub_config(tmp_path, models.url, changes=changes)) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
        ):
            for i in range(12):
                response = ask(client, EASY.format(i))
                label = {"decision_id": response.headers["x-route-decision-id"], "score": i / 12}
                assert client.post("/v1/feedback", json=label).status_code == 200
                asked.append(response)
        models.release.set()
    out = tmp_path / "runs.jsonl"
    exported = CliRunner().invoke(
        cli, ["export", "--config", str(tmp_path / "gateway.yaml"), "--out", str(out)]
    )
    assert exported.exit_code == 0, exported.output
    runs = read_agent_runs([out], MODES)
    assert len(runs) == 12
    for run, response in zip(runs, asked, strict=True):
        told = response.json()["steelyard"]["workflow"]["notes"]
        assert (run.mode, list(run.agents)) == (told["mode"], told["agents"])
        assert run.propensity == pytest.approx(told["propensity"])
        cost_usd = float(response.headers["x-route-cost-usd"])
        assert run.cost_usd == pytest.approx(cost_usd, abs=1e-8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"mode": "brawl"}, "there is no mode 'brawl'"),
        ({"agents": "a"}, "'agents' must be the models"),
        ({"agents": []}, "'agents' must be the models"),
        ({"propensity": 0}, "'propensity' must be above 0"),
        ({"propensity": 1.5}, "'propensity' must be above 0"),
        ({"propensity": None}, "'propensity' must be a number"),
        ({"quality": 3}, "'quality' must be from 0 to 1"),
        ({"quality": None}, "none of 1 lines"),
        ({"cost_usd": "free"}, "'cost_usd' must be a number"),
        ({"prompt": None}, "prompt"),
    ],
)
def test_lines_that_cannot_be_used_are_named(tmp_path, line, words):
    good = {"prompt": "a", "mode": "io", "agents": ["a"], "propensity": 0.5}
    good |= {"quality": 1, "cost_usd": 0.1}
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps({**good, **line}))
    with pytest.raises(DataError, match=words):
        read_agent_runs([file], MODES)
