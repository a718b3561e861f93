"""Routers that remember queries, from fit to gate, served, explained, and taught by feedback."""

import contextlib
import functools
import io
import itertools
import json
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from app.check.servable import check_servable
from app.commands.explanation import explain
from app.errors import ConfigError
from routers.artifact.load import load_artifact
from routers.commands import fit, gate, insert
from routers.heads._remembered import Linked
from tests.integration.test_evaluate_command import run
from tests.support.clusters import SKILLS, write_clusters
from tests.support.gateway import stub_config
from tests.support.processes import gateway_process, write_config
from tests.support.redis_server import until

pytest.importorskip("faiss")

SERVED = {"mini": "sim-nano", "mid": "sim-medium", "max": "sim-frontier"}
RECIPE = """
strategy: carrot
options:
  quality_head: &graph
    {kind: knn, options: {n_neighbors: 20, search: hnsw, m: 8, ef_construction: 40, ef: 64}}
  tokens_head: *graph
  shrink_unfamiliar: false
embedder: {kind: hashing, options: {dimensions: 48}}
blocks: [embedding]
calibration_folds: 2
"""
GUARDED = """
strategy: guarded-knn
embedder: {kind: hashing, options: {dimensions: 48}}
blocks: [embedding]
calibration_folds: 2
"""
N_ROWS = 4_200  # with fewer than 4,096 all are compared
LEARNED = {"router": 0.8, "guarded": 0.5}
"""What the cheapest model is believed to reach on hard prompts once its answers were praised."""
N_FEW = 400  # so that sixty ratings weigh something beside whatever is like them
HARD = next(i for i, skill in enumerate(SKILLS) if skill[0] == min(each[0] for each in SKILLS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growing")
    for name, n, seed in (("train", N_ROWS, 1), ("more", 40, 2), ("test", 300, 3)):
        file = write_clusters(folder / f"{name}.jsonl", n=n, seed=seed)
        rows = map(json.loads, file.read_text().splitlines())
        file.write_text(
            "\n".join(json.dumps({**row, "model": SERVED[row["model"]]}) for row in rows)
        )
    lines = (folder / "train.jsonl").read_text().splitlines()
    (folder / "few.jsonl").write_text("\n".join(lines[: 3 * N_FEW]))
    for recipe, data, out in ((RECIPE, "train", "router"), (GUARDED, "few", "guarded")):
        (folder / "recipe.yaml").write_text(recipe)
        options = ("--recipe", folder / "recipe.yaml", "--out", folder / out)
        assert run(fit, "--data", folder / f"{data}.jsonl", *options).exit_code == 0
    return folder


def changes_for(folder, data_dir, *, artifact="router", **feedback):
    policy = {
        "router": "carrot",
        "candidates": list(SERVED.values()),
        "default_model": "sim-frontier",
        "cost_quality": 0.0,
        "router_deadline_s": 10.0,
        "affinity": {"enabled": False},
    }
    return {
        "routers": {"carrot": {"artifact": str(folder / artifact), "feedback": feedback}},
        "policies": {"default": policy},
        "aliases": {},
        "store": {"data_dir": str(data_dir)},
        "outcomes": {"contents": {"enabled": True}},
        "server.max_lag_s": 3600,
    }


def gate_options(folder, artifact):
    train = ("--train", folder / "train.jsonl", "--data", folder / "test.jsonl")
    return ("--artifact", artifact, *train, "--max-p50-ms", 1000, "--draws", 100, "--json")


def test_a_fitted_graph_passes_the_gate_and_explains_itself(folder, stub_thread, tmp_path):
    assert isinstance(load_artifact(folder / "router").router.quality_.rows_, Linked)
    result = run(gate, *gate_options(folder, folder / "router"))
    assert json.loads(result.stdout)["verdict"] == "passed", result.stdout
    config = stub_config(
        tmp_path, stub_thread.origin, changes=changes_for(folder, tmp_path / "data")
    )
    out = io.StringIO()
    explain(
        hard_prompt(1),
        file=config.path,
        cost_quality="1",
        policy=None,
        max_cost_usd=None,
        as_json=False,
        task=None,
        console=Console(file=out, width=200),
    )
    assert "▶ sim-frontier" in out.getvalue()


def test_the_gate_does_not_fit_an_artifact_again_that_was_taught_outcomes(folder, tmp_path):
    grown = tmp_path / "grown"
    data = ("--data", folder / "more.jsonl", "--out", grown)
    assert run(insert, "--artifact", folder / "router", *data).exit_code == 0
    found = json.loads(run(gate, *gate_options(folder, grown)).stdout)
    assert found["n_cross_fitted"] == 0  # only rows that it was not trained on are judged
    assert found["n_queries"] == 300
    assert any("taught outcomes" in note for note in found["notes"])


def hard_prompt(number):
    """Return a prompt of a topic on which the cheapest model fails."""
    return " ".join(f"topic{HARD}word{(number + i) % 12}" for i in range(12)) + f" {number}"


async def predicted(client, number):
    """Return what is predicted of the cheapest model on a prompt that nobody rated."""
    messages = [{"role": "user", "content": hard_prompt(number)}]
    answer = await client.post(
        "/v1/route",
        json={"model": "auto", "messages": messages},
        headers={"x-route-explain": "full", "connection": "close"},
    )
    assert answer.status_code == 200, answer.text
    found = {each["model"]: each for each in answer.json()["candidates"]}
    return found["sim-nano"]["predicted_quality"]


async def remembered(client):
    """Return how many rated answers the worker remembers that has the fewest."""
    text = (await client.get("/metrics")).text
    samples = (s for f in text_string_to_metric_families(text) for s in f.samples)
    return next((s.value for s in samples if s.name == "gateway_remembered_feedback"), None)


async def stop(gateway):
    gateway.process.send_signal(signal.SIGTERM)
    await gateway.process.wait()


@contextlib.asynccontextmanager
async def serving(file, redis):
    async with (
        gateway_process(file, "--workers", "2", env={"STEELYARD_REDIS_URL": redis.url}) as gateway,
        gateway.client() as client,
    ):
        yield gateway, client


@pytest.mark.parametrize("artifact", LEARNED)
async def test_rated_answers_teach_every_worker_and_outlive_it(
    artifact, folder, stub_thread, redis_server, tmp_path
):
    file = tmp_path / "gateway.yaml"
    rule = {"max_rows": 60, "settle_s": 1.0}
    changes = changes_for(folder, tmp_path / "data", artifact=artifact, **rule)
    changes["store"] |= {"kind": "redis", "prefix": f"growing-{tmp_path.name}"}
    write_config(file, stub_thread.origin, changes)
    unrated = itertools.count(10_000)
    async with serving(file, redis_server) as (gateway, client):
        assert await predicted(client, next(unrated)) < 0.4
        for number in range(64):
            messages = [{"role": "user", "content": hard_prompt(number)}]
            answer = await client.post(
                "/v1/chat/completions", json={"model": "auto", "messages": messages}
            )
            assert (answer.status_code, answer.json()["model"]) == (200, "sim-nano"), answer.text
            label = {"decision_id": answer.headers["x-route-decision-id"], "thumbs": "up"}
            assert (await client.post("/v1/feedback", json=label)).status_code == 200

        async def are_taught(n=60):
            return await remembered(client) == n  # and no more

        await until(are_taught)
        # Whichever of them takes a connection: both believe what was told.
        assert min([await predicted(client, next(unrated)) for _ in range(8)]) > LEARNED[artifact]
        changes["routers"]["carrot"]["feedback"]["max_rows"] = 50
        write_config(file, stub_thread.origin, changes)
        gateway.process.send_signal(signal.SIGHUP)
        await until(functools.partial(are_taught, 50))
        assert min([await predicted(client, next(unrated)) for _ in range(8)]) > LEARNED[artifact]
        await stop(gateway)
    async with serving(file, redis_server) as (gateway, client):
        await until(functools.partial(are_taught, 50))
        assert await predicted(client, next(unrated)) > LEARNED[artifact]
        await stop(gateway)
    # What was fitted is as it was.
    router = load_artifact(folder / artifact).router
    n_rows = len(router.memory_) if artifact == "guarded" else router.quality_.rows_.n_live
    assert n_rows == (N_FEW if artifact == "guarded" else N_ROWS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcomes": {"contents": {"enabled": False}}}, "outcomes.contents.enabled: true"),
        ({"routers": {"carrot": {"feedback": {}}}}, "'abilities' artifact takes in nothing"),
    ],
    ids=["no-texts", "learns-by-fitting-alone"],
)
def test_who_could_not_learn_is_told_so(change, words, folder, stub_thread, tmp_path):
    changes = {**changes_for(folder, tmp_path / "data"), **change}

    def check():
        check_servable(stub_config(tmp_path, stub_thread.origin, changes=changes), here=False)

    with pytest.raises(ConfigError, match=words):
        check()
