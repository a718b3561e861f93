"""The strategy `tasks` from outcomes to answers, and applications that a model describes once."""

import io
import threading
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from app.commands.explanation import explain
from app.errors import ConfigError
from routers.errors import RoutingConfigError
from routers.training.fit import fit
from routers.training.recipe import Recipe, read_recipe
from tests.support.gateway import GatewayThread, stub_config
from tests.support.outcomes import MODELS, write_outcomes
from tests.support.several import Models
from tests.support.task_prompts import EXAMPLES

RECIPE = Path(__file__).parents[2] / "configs/training/tasks.yaml"
DESCRIBER = "sim-medium"
SERVED = dict(zip(MODELS, ("sim-nano", "sim-large"), strict=True))
SYSTEM = "You are the assistant of a shop that sells lamps."
DOWN = (500, {"error": {"message": "no", "type": "server_error"}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    write_outcomes(folder / "wide.parquet", n=150)
    recipe = read_recipe(RECIPE)
    fit(
        [folder / "wide.parquet"],
        folder / "tasks",
        recipe=recipe.model_copy(update={"calibration_folds": 2, "abstain": False}),
        created_at="",
        steelyard_version="",
    )
    return folder


def changes_for(folder, url, **policy):
    models = {
        served: {"upstream": "stub", "spec": "gpt-4.1-nano", "predicted_as": model}
        for model, served in SERVED.items()
    }
    models[DESCRIBER] = {"upstream": "stub", "spec": "gpt-4.1-mini"}
    return {
        "upstreams.stub": {"kind": "openai", "base_url": f"{url}/v1", "retries": 0},
        "models": models,
        "routers": {
            "tasks": {"artifact": str(folder / "tasks")},
            "carrot": {"artifact": "default"},
        },
        "policies": {
            "default": {
                "router": "tasks",
                "candidates": list(SERVED.values()),
                "default_model": "sim-large",
                "router_deadline_s": 20.0,
                "describe_apps": {"model": DESCRIBER, "deadline_s": 20.0},
                **policy,
            }
        },
        "default_policy": "default",
        "aliases": {},
        "breaker.failures": 1_000,
    }


@pytest.fixture(scope="module")
def served_models():
    with Models() as server:
        yield server
        server.release.set()


@pytest.fixture
def models(served_models):
    served_models.reset()
    served_models.said = dict.fromkeys((*SERVED.values(), DESCRIBER), "Questions about lamps.")
    return served_models


@pytest.fixture(scope="module")
def gateway(folder, served_models, tmp_path_factory):
    config = stub_config(
        tmp_path_factory.mktemp("gateway"),
        served_models.url,
        changes=changes_for(folder, served_models.url),
    )
    with GatewayThread(config) as gateway:
        yield gateway


def ask(gateway, system=SYSTEM, path="chat/completions", **fields):
    messages = [{"role": "user", "content": "How bright is it?"}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body = {"model": "auto", "messages": messages, **fields}
    return httpx.post(
        f"{gateway.url}/v1/{path}",
        json=body,
        headers={"x-route-explain": "full"},
        trust_env=False,
        timeout=60,
    )


def roles(response):
    return [each["role"] for each in response.json()["steelyard"]["calls"]]


def test_an_application_is_described_once(gateway, models):
    first = ask(gateway)
    assert first.status_code == 200
    assert roles(first) == ["describer", "answer"]
    assert models.asked[0] == DESCRIBER
    assert models.bodies[0]["messages"][1]["content"] == SYSTEM
    assert "How bright" not in str(models.bodies[0])
    assert first.headers["x-route-category"]
    again = ask(gateway)
    assert roles(again) == ["answer"]
    other = ask(gateway, system="Another application.")
    assert roles(other) == ["describer", "answer"]
    assert roles(ask(gateway, system=None)) == ["answer"]
    # It is paid, and no part of what the answer cost.
    call = first.json()["steelyard"]["calls"][0]
    assert call["cost_usd"] > 0
    assert float(first.headers["x-route-cost-usd"]) == pytest.approx(
        float(again.headers["x-route-cost-usd"])
    )


@pytest.mark.parametrize("said", [DOWN, ""])
def test_where_nobody_describes_it_the_system_prompt_stands_for_itself(gateway, models, said):
    models.said[DESCRIBER] = said
    system = f"An application of which nobody says more than {said}."
    assert ask(gateway, system=system).status_code == 200
    # And nobody is asked with every request.
    assert roles(ask(gateway, system=system)) == ["answer"]


def test_others_do_not_wait_while_one_asks(gateway, models):
    asked, go_on = threading.Event(), threading.Event()

    def slow(_body):
        asked.set()
        assert go_on.wait(30)
        return "Questions about lamps."

    models.said[DESCRIBER] = slow
    answers = []
    system = "A busy application."
    first = threading.Thread(target=lambda: answers.append(ask(gateway, system=system)))
    first.start()
    assert asked.wait(30)
    assert roles(ask(gateway, system=system)) == ["answer"]
    go_on.set()
    first.join(30)
    assert roles(answers[0]) == ["describer", "answer"]


def test_route_describes_it_too(gateway, models):
    assert ask(gateway, path="route", system="One that only decides.").status_code == 200
    assert models.asked == [DESCRIBER]


def test_a_router_that_reads_no_tasks_has_nobody_describe_them(folder, served_models, tmp_path):
    changes = changes_for(folder, served_models.url)
    changes["policies"]["default"]["router"] = "carrot"
    changes["models"] = {
        name: {**model, "predicted_as": "gpt-4.1-nano"} for name, model in changes["models"].items()
    }
    with (
        pytest.raises(ConfigError, match="does not read what an application is for"),
        GatewayThread(stub_config(tmp_path, served_models.url, changes=changes)),
    ):
        pass


def test_explain_tells_the_task_that_is_named_or_found(folder, served_models, tmp_path):
    tasks = {
        "ocr": {"examples": list(EXAMPLES["ocr"]), "candidates": ["sim-large"]},
        "translate": {"examples": list(EXAMPLES["translate"]), "candidates": ["sim-nano"]},
    }
    policy = {"tasks": tasks, "recognise_tasks": {"chains": True}, "describe_apps": None}
    config = stub_config(
        tmp_path, served_models.url, changes=changes_for(folder, served_models.url, **policy)
    )

    def told(prompt, task=None):
        out = io.StringIO()
        explain(
            prompt,
            file=config.path,
            cost_quality=None,
            policy=None,
            max_cost_usd=None,
            as_json=False,
            task=task,
            console=Console(file=out, width=200),
        )
        return out.getvalue()

    named = told("What is it?", task="translate")
    assert "task translate\n" in named
    assert "▶ sim-nano" in named
    found = told("Read the text in this picture and put it into French.")
    assert "task ocr>translate, recognised" in found


def test_the_block_has_to_come_first():
    recipe = Recipe(strategy="tasks", blocks=("embedding", "task"))
    with pytest.raises(RoutingConfigError, match=r"blocks: \[task, embedding\]"):
        fit([], Path("nowhere"), recipe=recipe, created_at="", steelyard_version="")
