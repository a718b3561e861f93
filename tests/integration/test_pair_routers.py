"""Routers of two models behind `router-<name>-<threshold>`, through the official client library."""

import io

import httpx
import openai
import pytest
from rich.console import Console

from app.commands.explanation import explain
from app.errors import ConfigError
from routers.training.calibrate import PairGoal, calibrate
from tests.support.gateway import GatewayThread, stub_config
from tests.support.outcomes import write_outcomes
from tests.support.pair_routers import EASY, HARD, STRONG, WEAK, fit_routers, pair_config

RECIPES = {
    "mf": {"strategy": "mf"},
    "mf_low_rank": {"strategy": "mf", "options": {"rank": 8, "learning_rate": 0.02}},
    "sw_ranking": {"strategy": "sw-ranking"},
    "bert": {"strategy": "bert"},
    "hybrid": {"strategy": "hybrid"},
    "random": {"strategy": "random"},
}
LEARNED = [name for name in RECIPES if name != "random"]
ROUTED = list(RECIPES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    fit_routers(folder, RECIPES)
    fresh = write_outcomes(folder / "fresh.parquet", n=1500, seed=7)
    goal = {"strong": "large", "weak": "small"}
    for name, pair in {
        "promised": PairGoal(**goal, strong_share=0.4, max_drop=0.1, max_quality_drop=0.2),
        "shared": PairGoal(**goal, strong_share=0.3),
        "turned": PairGoal(strong="small", weak="large", strong_share=0.3),
    }.items():
        calibrate(
            folder / "mf",
            [fresh],
            folder / name,
            created_at="2026-02-03T00:00:00+00:00",
            pair=pair,
        )
    return folder


@pytest.fixture(scope="module")
def url(folder, stub_thread):
    config = stub_config(
        folder,
        stub_thread.origin,
        changes=pair_config(
            folder,
            [*ROUTED, "promised", "shared", "turned"],
            policies={
                "kept": {"router": "promised", "threshold": "guaranteed"},
                "shared_out": {"router": "shared", "threshold": "calibrated"},
                "even": {"router": "mf", "threshold": 0.5},
                "economical": {"router": "promised", "threshold": "max-drop"},
            },
        ),
    )
    with GatewayThread(config) as gateway:
        yield gateway.url


@pytest.fixture
def client(url, stub, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-client", max_retries=0) as client:
        yield client


def ask(client, model, prompt=EASY, **headers):
    """Return headers and the name of the upstream model that answered."""
    response = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": prompt}], extra_headers=headers
    )
    return response.headers, response.parse().model


def served(client, model, prompt=EASY):
    headers, upstream_model = ask(client, model, prompt)
    assert headers["x-route-reason"] == "threshold"
    assert headers["x-route-model"] == upstream_model
    return upstream_model


def route(url, model, prompt=EASY, **headers):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    response = httpx.post(f"{url}/v1/route", json=body, headers=headers, trust_env=False)
    assert response.status_code == 200, response.text
    return response.json()


def score(client, name, prompt):
    """Find by bisection, through the gateway, the threshold at which its choice turns."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        if served(client, f"router-{name}-{middle:.6f}", prompt) == STRONG:
            low = middle
        else:
            high = middle
    return low


@pytest.mark.parametrize("name", ROUTED)
def test_the_ends_of_the_threshold_are_always_strong_and_always_weak(client, name):
    for prompt in (EASY, HARD):
        assert served(client, f"router-{name}-0", prompt) == STRONG
        assert served(client, f"router-{name}-1.0", prompt) == WEAK


@pytest.mark.parametrize("name", LEARNED)
def test_a_threshold_between_two_scores_parts_the_easy_from_the_hard(client, name):
    easy, hard = score(client, name, EASY), score(client, name, HARD)
    assert hard > easy + 0.1
    between = f"router-{name}-{(easy + hard) / 2:.5f}"
    assert served(client, between, EASY) == WEAK
    assert served(client, between, HARD) == STRONG


def test_a_stream_is_decided_by_threshold_too(client, stub):
    for threshold, model in ((0, STRONG), (1, WEAK)):
        with client.chat.completions.create(
            model=f"router-sw_ranking-{threshold}",
            messages=[{"role": "user", "content": HARD}],
            stream=True,
        ) as stream:
            assert {chunk.model for chunk in stream} == {model}
    assert [entry.model for entry in stub.log()] == [STRONG, WEAK]


@pytest.mark.parametrize("number", ["0.3", "3e-1", ".3", "0.30000", "1e-3"])
def test_every_spelling_of_a_number_is_read(client, number):
    headers, _ = ask(client, f"router-mf-{number}")
    assert float(headers["x-route-threshold"]) == float(number)


@pytest.mark.parametrize("number", ["1.5", "-0.1", "nan", "inf", "1_0"])
def test_a_number_that_is_no_threshold_is_refused(client, number):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, f"router-mf-{number}")
    assert caught.value.param == "model"
    assert "from 0 to 1" in caught.value.message


@pytest.mark.parametrize("name", ["none-0.5", "mf-high", "mf", "mf-", "-0.5", "sw-ranking-0.5"])
def test_a_name_that_does_not_exist_lists_those_that_do(client, name):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, f"router-{name}")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "router-sw_ranking-<threshold from 0 to 1>" in caught.value.message


def test_no_other_model_than_the_two_may_serve(url):
    answer = route(url, "router-hybrid-0.5", **{"x-route-models": WEAK})
    assert (answer["model"], answer["decision"]["reason"]) == (WEAK, "only_eligible")


# --- what `steelyard calibrate` stored ------------------------------------------------------------


def test_the_calibrated_name_decides_by_the_stored_threshold(client, url):
    answer = route(url, "router-shared-calibrated")
    told = answer["threshold"]
    assert (told["strong"], told["weak"]) == (STRONG, WEAK)
    assert told["statement"] == (
        "Sends 30% of requests like those of the calibration of 2026-02-03 to large."
    )
    headers, _ = ask(client, "router-shared-calibrated")
    assert float(headers["x-route-threshold"]) == pytest.approx(told["threshold"], rel=1e-5)
    for prompt in (EASY, HARD):
        by_number = served(client, f"router-shared-{told['threshold']!r}", prompt)
        assert served(client, "router-shared-calibrated", prompt) == by_number


def test_the_calibrated_name_sends_about_its_share_to_the_strong_model(url, tmp_path):
    import pyarrow.parquet as pq

    prompts = pq.read_table(write_outcomes(tmp_path / "more.parquet", n=200, seed=9))["prompt"]
    with httpx.Client(trust_env=False) as http:
        models = [
            http.post(
                f"{url}/v1/route",
                json={
                    "model": "router-shared-calibrated",
                    "messages": [{"role": "user", "content": prompt.as_py()}],
                },
            ).json()["model"]
            for prompt in prompts
        ]
    assert models.count(STRONG) / len(models) == pytest.approx(0.3, abs=0.1)


def test_the_guaranteed_name_says_what_is_promised(client, url):
    told = route(url, "router-promised-guaranteed")["threshold"]
    assert "with confidence 90%" in told["statement"]
    assert "at most 20.00%" in told["statement"]
    assert served(client, "router-promised-guaranteed", HARD) == STRONG
    assert served(client, "router-promised-guaranteed", EASY) == WEAK


def test_the_name_of_an_allowed_drop_says_what_it_did_and_promises_nothing(client, url):
    told = route(url, "router-promised-max-drop")["threshold"]
    assert "where 10.00% were allowed" in told["statement"]
    assert "Nothing is guaranteed" in told["statement"]
    assert served(client, "router-promised-max-drop", HARD) == STRONG
    assert served(client, "router-promised-max-drop", EASY) == WEAK
    assert route(url, "auto:economical", HARD)["threshold"] == told


def test_a_policy_decides_by_a_stored_threshold_until_a_request_says_otherwise(client, url):
    promised = route(url, "router-promised-guaranteed")["threshold"]
    for prompt, model in ((EASY, WEAK), (HARD, STRONG)):
        answer = route(url, "auto:kept", prompt)
        assert (answer["model"], answer["threshold"]) == (model, promised)
        assert served(client, "auto:kept", prompt) == model
    assert route(url, "auto:shared_out")["threshold"]["statement"].startswith("Sends 30%")
    assert route(url, "auto:even")["threshold"]["statement"] is None
    knob = route(url, "auto:kept", HARD, **{"x-cost-quality": "0"})
    assert (knob["model"], knob["threshold"]) == (WEAK, None)


def test_explain_tells_the_threshold_and_its_statement(url, folder):
    told = io.StringIO()
    explain(
        HARD,
        file=folder / "gateway.yaml",
        cost_quality=None,
        policy="kept",
        max_cost_usd=None,
        as_json=False,
        console=Console(file=told, width=400),
    )
    threshold = route(url, "auto:kept")["threshold"]
    assert f"threshold {threshold['threshold']:.6g}: {STRONG} from it on" in told.getvalue()
    assert threshold["statement"] in told.getvalue()


def test_names_with_a_stored_threshold_are_listed_and_no_others(client):
    listed = {model.id: model.owned_by for model in client.models.list()}
    named = {name for name in listed if name.startswith("router-")}
    assert named == {
        "router-promised-calibrated",
        "router-promised-guaranteed",
        "router-promised-max-drop",
        "router-shared-calibrated",
    }
    assert {listed[name] for name in named} == {"steelyard"}
    assert client.models.retrieve("router-shared-calibrated").id == "router-shared-calibrated"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("mf", "calibrated"),
        ("shared", "guaranteed"),
        ("shared", "max-drop"),
        ("turned", "calibrated"),
    ],
)
def test_what_was_never_stored_of_this_pair_cannot_be_asked_for(
    client, folder, tmp_path, name, stored
):
    with pytest.raises(openai.NotFoundError):
        ask(client, f"router-{name}-{stored}")
    changes = pair_config(folder, [name], policies={"kept": {"router": name, "threshold": stored}})
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=changes)
    with pytest.raises(ConfigError, match=f"no {stored} threshold between large and small"):
        GatewayThread(config)
