"""What sound costs: predicted, limited, reserved and booked at a price of its own, over sockets."""

import httpx
import pytest

from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config, write_yaml
from tests.support.media import inline, wav
from tests.support.scoring_server import ScoringServer, answer
from tests.support.watching import metric, until

TEXT_IN, TEXT_OUT, AUDIO_IN, AUDIO_OUT = 2.5, 10.0, 40.0, 80.0
"""US dollars per million tokens."""
TOKENS_PER_S = 10


@pytest.fixture(scope="module")
def ears():
    with ScoringServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(ears, artifacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    document = read_yaml(CONFIGS / "models.yaml")
    entry = document["models"]["gemini-3-flash"]
    text = {"input_usd_per_mtok": TEXT_IN, "output_usd_per_mtok": TEXT_OUT}
    sound = {"audio_input_usd_per_mtok": AUDIO_IN, "audio_output_usd_per_mtok": AUDIO_OUT}
    source = {"source": "made up", "date": entry["prices"]["date"]}
    more = {"capabilities": ["streaming", "audio"], "media": {"audio_tokens_per_s": TOKENS_PER_S}}
    document["models"]["deaf-price"] = {**entry, **more, "prices": text | source}
    document["models"]["ear"] = {**entry, **more, "prices": text | sound | source}
    write_yaml(folder / "models.yaml", document)
    upstream = {"kind": "openai", "base_url": f"{ears.url}/v1", "retries": 0}
    changes = {
        "catalogue": str(folder / "models.yaml"),
        "upstreams.ears": upstream,
        "models.ear": {"upstream": "ears", "predicted_as": "gpt-4o-mini"},
        "models.deaf-price": {"upstream": "ears", "predicted_as": "gpt-4o-mini"},
        "policies.hearing": {
            "router": "carrot",
            "candidates": ["ear", "deaf-price"],
            "default_model": "ear",
            "router_deadline_s": 20.0,
        },
    }
    config = stub_config(folder, "http://127.0.0.1:9", changes=changes)
    with GatewayThread(config, artifacts=artifacts) as running:
        yield running


def spoken(seconds):
    sound = {"type": "input_audio", "input_audio": {"data": inline(wav(seconds)), "format": "wav"}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, sound]}]


def post(gateway, path, **body):
    return httpx.post(f"{gateway.openai_url}/{path}", json=body, trust_env=False, timeout=60)


def told(*, heard=0, said=0, tokens=(1_000, 500)):
    whole = answer("It is silent.", tokens=tokens)
    whole["usage"]["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": heard}
    whole["usage"]["completion_tokens_details"] = {"reasoning_tokens": 0, "audio_tokens": said}
    return whole


def test_what_is_heard_and_said_is_booked_at_its_own_price(gateway, ears):
    whole = told(heard=900, said=400)
    ears.answer = lambda _: (200, whole)
    response = post(gateway, "chat/completions", model="ear", messages=spoken(90))
    in_text, in_sound = 100 * TEXT_IN + 900 * AUDIO_IN, 100 * TEXT_OUT + 400 * AUDIO_OUT
    cost_usd = (in_text + in_sound) / 1e6
    assert float(response.headers["x-route-cost-usd"]) == pytest.approx(cost_usd, abs=1e-8)
    usage = response.json()["usage"]
    assert usage["prompt_tokens_details"]["audio_tokens"] == 900
    assert usage["completion_tokens_details"]["audio_tokens"] == 400


def test_where_sound_has_no_price_it_costs_what_text_does(gateway, ears):
    ears.answer = lambda _: (200, told(heard=900))
    response = post(gateway, "chat/completions", model="deaf-price", messages=spoken(90))
    cost_usd = (1_000 * TEXT_IN + 500 * TEXT_OUT) / 1e6
    assert float(response.headers["x-route-cost-usd"]) == pytest.approx(cost_usd, abs=1e-8)


def predicted(gateway, messages, **fields):
    answered = post(gateway, "route", model="auto:hearing", messages=messages, **fields)
    return {each["model"]: each for each in answered.json()["candidates"]}


def test_predictions_price_recordings_by_their_length(gateway):
    short, long = (predicted(gateway, spoken(seconds)) for seconds in (1, 101))
    more = long["ear"]["predicted_cost_usd"] - short["ear"]["predicted_cost_usd"]
    assert more == pytest.approx(100 * TOKENS_PER_S * AUDIO_IN / 1e6, rel=1e-3)
    more = long["deaf-price"]["predicted_cost_usd"] - short["deaf-price"]["predicted_cost_usd"]
    assert more == pytest.approx(100 * TOKENS_PER_S * TEXT_IN / 1e6, rel=1e-3)


def test_the_cheaper_ear_is_chosen_for_long_recordings_within_a_limit(gateway, ears):
    ears.answer = lambda _: (200, told(heard=1_200, tokens=(1_250, 5)))
    response = httpx.post(
        f"{gateway.openai_url}/chat/completions",
        json={"model": "auto:hearing", "messages": spoken(120)},
        headers={"x-route-max-cost": "0.03"},
        trust_env=False,
        timeout=60,
    )
    assert response.headers.get("x-route-model") == "deaf-price", response.text


def test_a_spoken_answer_is_predicted_as_sound(gateway):
    asked = [{"role": "user", "content": "Say something kind."}]
    voice = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    written, said = predicted(gateway, asked)["ear"], predicted(gateway, asked, **voice)["ear"]
    more = said["predicted_cost_usd"] - written["predicted_cost_usd"]
    tokens = written["predicted_output_tokens"]
    assert more == pytest.approx(tokens * (AUDIO_OUT - TEXT_OUT) / 1e6, rel=1e-3)
    assert said["predicted_output_tokens"] == tokens


def test_spoken_answers_have_a_known_price_where_the_catalogue_has_one(gateway, ears):
    ears.answer = lambda _: (200, told(said=500))
    asked = {"messages": [{"role": "user", "content": "Hi"}], "modalities": ["text", "audio"]}
    voice = {"audio": {"voice": "alloy", "format": "wav"}}
    known, unknown = (
        post(gateway, "chat/completions", model=model, **asked, **voice)
        for model in ("ear", "deaf-price")
    )
    cost_usd = (1_000 * TEXT_IN + 500 * AUDIO_OUT) / 1e6
    assert float(known.headers["x-route-cost-usd"]) == pytest.approx(cost_usd, abs=1e-8)
    assert "x-route-cost-usd" not in unknown.headers


def test_tokens_of_sound_are_counted_apart(gateway, ears):
    def line(what):
        return f'gateway_tokens_total{{class="{what}",estimated="false",model="ear",role="answer"}}'

    ears.answer = lambda _: (200, told(heard=7, said=3))
    before = {what: metric(gateway, line(what)) for what in ("audio_input", "audio_output")}
    post(gateway, "chat/completions", model="ear", messages=spoken(1))
    for what, more in (("audio_input", 7), ("audio_output", 3)):
        until(gateway, line(what), before[what] + more)
