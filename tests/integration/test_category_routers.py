"""Routers of categories from outcomes to answers: fit, gate, map, explain, serve."""

import io
import json
import re
import time

import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console

from app.commands.explanation import explain
from app.outcomes.sqlite import read_outcomes
from routers.artifact.load import load_artifact
from routers.commands import data, fit, gate
from routers.commands import map as map_command
from routers.errors import RoutingError
from tests.support.category_worlds import PRICES, prompts, write_subjects
from tests.support.gateway import GatewayThread, stub_config, write_yaml

SERVED_AS = {"general": "sim-nano", "mathy": "sim-small", "doctor": "sim-medium"}
RECIPE = """
strategy: {strategy}
options: {options}
blocks: [embedding]
calibration_folds: 2
"""
BY_HAND = "{experts: {maths: mathy, health: doctor, other: general}}"
BOARD = "model,Math,Health,History\ngeneral,55,60,80\nmathy,95,30,40\ndoctor,30,95,50\n"


def run(command, *arguments, code=0):
    result = CliRunner().invoke(command.command, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("categories")
    write_subjects(folder / "train.jsonl")
    (folder / "prices.json").write_text(json.dumps(PRICES))
    for name, strategy, options in (
        ("composed", "composition", "{}"),
        ("domains", "domains", BY_HAND),
    ):
        (folder / f"{name}.yaml").write_text(RECIPE.format(strategy=strategy, options=options))
        run(
            fit,
            *("--data", folder / "train.jsonl", "--prices", folder / "prices.json"),
            *("--recipe", folder / f"{name}.yaml", "--out", folder / name),
        )
    (folder / "board.csv").write_text(BOARD)
    run(
        data,
        *("table", "--from", folder / "board.csv", "--prices", folder / "prices.json"),
        *("--out", folder / "table"),
    )
    return folder


@pytest.fixture(scope="module")
def config(folder, stub_thread):
    routers = ("composed", "domains", "table")
    models = {
        served: {"upstream": "stub", "spec": "gpt-4.1-nano", "predicted_as": model}
        for model, served in SERVED_AS.items()
    }
    return stub_config(
        folder,
        stub_thread.origin,
        changes={
            "models": models,
            "routers": {name: {"artifact": str(folder / name)} for name in routers},
            "policies": {
                name: {
                    "router": name,
                    "candidates": list(models),
                    "default_model": "sim-nano",
                    "cost_quality": 1.0,
                    "router_deadline_s": 10.0,
                }
                for name in routers
            },
            "default_policy": "composed",
            "store": {"data_dir": "data"},
            "aliases": {},
        },
    )


@pytest.fixture(scope="module")
def url(config):
    with GatewayThread(config) as gateway:
        yield gateway.url


def ask(url, policy, prompt, path="/v1/chat/completions"):
    body = {"model": f"auto:{policy}", "messages": [{"role": "user", "content": prompt}]}
    answer = httpx.post(f"{url}{path}", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def test_each_subject_goes_to_its_expert_and_says_so(url):
    for policy, header, maths in (
        ("composed", "x-route-category", "math"),
        ("domains", "x-route-domain", "maths"),
        ("table", "x-route-category", "Math"),
    ):
        (prompt,) = prompts("math", 1, seed=9)
        headers = ask(url, policy, prompt).headers
        assert headers["x-route-model"] == SERVED_AS["mathy"]
        assert headers[header] == maths
        assert headers["x-route-reason"] == "knob"


def test_what_is_of_no_category_goes_to_the_generalist(url):
    for policy, header, none in (
        ("composed", "x-route-category", "uncertain"),
        ("domains", "x-route-domain", "other"),
    ):
        (prompt,) = prompts(None, 1, seed=9)
        headers = ask(url, policy, prompt).headers
        assert headers["x-route-reason"] == "uncertain"
        assert headers[header] == none
        assert headers["x-route-model"] == SERVED_AS["general"]


def test_a_decision_alone_tells_the_category_too(url):
    (prompt,) = prompts("health", 1, seed=9)
    answer = ask(url, "domains", prompt, path="/v1/route")
    assert answer.json()["decision"]["category"] == {"scheme": "domain", "name": "health"}
    assert answer.headers["x-route-domain"] == "health"
    (prompt,) = prompts(None, 1, seed=9)
    decision = ask(url, "domains", prompt, path="/v1/route").json()["decision"]
    assert decision["category"] == {"scheme": "domain", "name": "other"}
    assert decision["reason"] == "uncertain"


def test_the_decision_log_keeps_the_category(folder, url):
    (prompt,), (stray,) = prompts("health", 1, seed=8), prompts(None, 1, seed=8)
    found = {}
    for name, each in (("domains", prompt), ("domains", stray), ("composed", stray)):
        decision_id = ask(url, name, each).headers["x-route-decision-id"]
        found[decision_id] = None
    deadline = time.monotonic() + 30
    while None in found.values() and time.monotonic() < deadline:  # a thread writes it
        found |= {
            row.decision_id: row.category
            for _, row in read_outcomes(folder / "data")
            if row.decision_id in found
        }
    assert list(found.values()) == ["health", "other", "uncertain"]


def test_metrics_count_decisions_by_category(url):
    (maths,), (stray,) = prompts("math", 1, seed=9), prompts(None, 1, seed=9)

    def counted() -> dict[str, float]:
        text = httpx.get(f"{url}/metrics").text
        found = re.findall(r"gateway_categories_total\{(.*)\} ([0-9.]+)", text)
        return {labels: float(value) for labels, value in found}

    before = counted()
    for prompt in (maths, maths, stray):
        ask(url, "domains", prompt)
    after = counted()
    grown = {each: after[each] - before.get(each, 0) for each in after}
    assert grown['category="maths",policy="domains"'] == 2
    assert grown['category="other",policy="domains"'] == 1


def test_explain_names_the_category(folder, config):
    console = Console(file=io.StringIO(), width=100)
    (prompt,) = prompts("math", 1, seed=9)
    explain(
        prompt,
        file=folder / "gateway.yaml",
        cost_quality=None,
        policy="domains",
        max_cost_usd=None,
        as_json=False,
        console=console,
    )
    assert "domain maths" in console.file.getvalue()


def test_the_gate_judges_them_as_any_router(folder):
    result = CliRunner().invoke(
        gate.command,
        [
            *("--artifact", str(folder / "composed"), "--train", str(folder / "train.jsonl")),
            *("--max-p50-ms", "1000", "--draws", "200", "--json"),
        ],
    )
    found = json.loads(result.stdout)
    checks = {check["name"]: check["verdict"] for check in found["checks"]}
    assert found["n_cross_fitted"] == 360
    assert checks["ZeroRouter"] == checks["cost-matched shuffle"] == "passed"


def test_map_shows_who_answers_what(folder):
    lines = run(map_command, "--artifact", folder / "composed").stdout.splitlines()
    experts = {line.split()[0]: line.split()[2] for line in lines[1:-1]}
    assert experts["math"] == "mathy"
    assert experts["health"] == "doctor"
    assert experts["history"] == experts["other"] == "general"


def test_map_keeps_within_a_budget_of_memory_without_fitting_again(folder):
    sizes = {model: {"parameters_b": 8, "prices": None} for model in PRICES}
    write_yaml(folder / "models.yaml", {"models": sizes})
    options = ("--artifact", folder / "composed", "--catalogue", folder / "models.yaml")
    found = run(
        map_command,
        *(*options, "--budget", "parameters_b=16", "--out", folder / "small", "--json"),
    )
    told = json.loads(found.stdout)
    assert len({each["expert"] for each in told["categories"]}) == 2
    assert told["totals"]["parameters_b"] == 16
    small = load_artifact(folder / "small")
    assert small.version == told["version"]
    assert small.manifest["strategy"]["options"]["budget"]["parameters_b"] == 16
    # What was learned is the same to the last bit.
    before, after = load_artifact(folder / "composed").router.state(), small.router.state()
    assert all((before[name] == after[name]).all() for name in before if "table" in name)
    assert len(small.calibration) == len(load_artifact(folder / "composed").calibration)


def test_a_mapped_artifact_is_still_judged_by_its_recipe(folder):
    run(
        map_command,
        *("--artifact", folder / "composed", "--experts", "math=mathy,other=general"),
        *("--out", folder / "by-hand"),
    )
    result = CliRunner().invoke(
        gate.command,
        [
            *("--artifact", str(folder / "by-hand"), "--train", str(folder / "train.jsonl")),
            *("--max-p50-ms", "1000", "--draws", "200", "--json"),
        ],
    )
    assert json.loads(result.stdout)["n_cross_fitted"] == 360


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--budget", "parameters_b=4"), "the smallest has 8"),
        (("--budget", "usd_per_request=1e-9"), "the least is"),
        (("--experts", "maths=mathy"), "no category is called maths"),
        (("--experts", "math=nobody"), "unknown experts: nobody"),
    ],
)
def test_what_cannot_be_mapped_is_refused_in_words(folder, options, said):
    write_yaml(folder / "models.yaml", {"models": {m: {"parameters_b": 8} for m in PRICES}})
    arguments = ("--artifact", folder / "composed", "--catalogue", folder / "models.yaml")
    result = CliRunner().invoke(map_command.command, [*map(str, arguments), *options])
    assert isinstance(result.exception, RoutingError)
    assert said in str(result.exception)


def test_a_leaderboard_alone_makes_a_router_that_says_what_it_rests_on(folder):
    artifact = load_artifact(folder / "table")
    assert {artifact.evidence(model).value for model in artifact.models} == {"prior"}
    experts = {each["category"]: each["expert"] for each in artifact.router.report()}
    assert experts == {
        "Math": "mathy",
        "Health": "doctor",
        "History": "general",
        "other": "general",
    }
