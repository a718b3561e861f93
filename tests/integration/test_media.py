"""Pictures, sound and files in a request: what each candidate counts them for, over sockets."""

import anthropic
import httpx
import openai
import pytest

from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config, write_yaml
from tests.support.media import data_url, inline, jpeg, pdf, picture_part, png, wav

SIZE = (1920, 1080)
PICTURE = jpeg(*SIZE, metadata_bytes=70_000)
QUESTION = "What does the sign in this picture say?"
COUNTED = {"sim-small": 3_710, "sim-medium": 2_443, "sim-large": 1_568, "sim-frontier": 2_691}
"""1,508 patches by 2.46, by 1.62; Claude's patches, at most 1,568 of the older one."""


@pytest.fixture(scope="module")
def running(stub_thread, artifacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    document = read_yaml(CONFIGS / "models.yaml")
    document["models"]["claude-sonnet-4-5"]["media"] = {"max_images": 2}
    write_yaml(folder / "models.yaml", document)
    changes = {
        "catalogue": str(folder / "models.yaml"),
        "models.sim-ear": {
            "upstream": "stub",
            "upstream_model": "sim-medium",
            "spec": "gemini-3-flash",
        },
        "policies.hearing": {
            "router": "carrot",
            "candidates": ["sim-nano", "sim-ear"],
            "default_model": "sim-ear",
            "router_deadline_s": 10.0,
        },
    }
    config = stub_config(folder, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def gateway(running, stub):
    return running


def route(gateway, content, *, model="auto", **fields):
    body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
    answer = httpx.post(f"{gateway.openai_url}/route", json=body, trust_env=False)
    return {each["model"]: each for each in answer.json()["candidates"]}


def text(words=QUESTION):
    return {"type": "text", "text": words}


def test_each_candidate_counts_a_picture_as_its_vendor_does(gateway):
    plain = route(gateway, [text()])
    seen = route(gateway, [text(), picture_part(PICTURE)])
    more = {name: seen[name]["input_tokens"] - plain[name]["input_tokens"] for name in COUNTED}
    assert more == pytest.approx(COUNTED, abs=1)  # a line break between the parts
    for name in COUNTED:
        assert seen[name]["predicted_cost_usd"] > plain[name]["predicted_cost_usd"]
    assert seen["sim-nano"]["exclusion"] == "vision_unsupported"


def test_low_detail_counts_for_less_where_there_is_such_a_thing(gateway):
    high = route(gateway, [text(), picture_part(PICTURE)])
    low = route(gateway, [text(), picture_part(PICTURE, detail="low")])
    for name in ("sim-small", "sim-medium"):
        assert low[name]["input_tokens"] < 0.2 * high[name]["input_tokens"]
    assert low["sim-large"]["input_tokens"] == high["sim-large"]["input_tokens"]


def test_an_address_is_counted_as_a_usual_picture_and_never_fetched(gateway, stub):
    n_before = len(stub.log())
    elsewhere = route(gateway, [text(), picture_part(f"{stub.origin}/v1/picture.png")])
    usual = route(gateway, [text(), picture_part(png(1024, 1024))])
    assert elsewhere["sim-small"]["input_tokens"] == usual["sim-small"]["input_tokens"]
    upper = elsewhere["sim-small"]["upper_cost_usd"]
    assert upper > usual["sim-small"]["upper_cost_usd"]
    assert len(stub.log()) == n_before


def test_a_model_that_takes_fewer_pictures_is_left_out(gateway):
    three = route(gateway, [text(), *(picture_part(png(40, 40)) for _ in range(3))])
    assert three["sim-large"]["exclusion"] == "max_images"
    assert "at most 2 images, the request has 3" in three["sim-large"]["exclusion_detail"]
    assert three["sim-frontier"]["eligible"]


def test_sound_is_counted_by_the_second_and_goes_to_who_hears(gateway):
    def heard(data):
        sound = {"type": "input_audio", "input_audio": {"data": inline(data), "format": "wav"}}
        return route(gateway, [text("What is said?"), sound], model="auto:hearing")

    short, long = heard(wav(1)), heard(wav(61))
    assert long["sim-ear"]["input_tokens"] - short["sim-ear"]["input_tokens"] == 60 * 32
    assert long["sim-nano"]["exclusion"] == "audio_unsupported"


def test_pages_are_counted_where_the_file_tells_them(gateway):
    def read(data):
        file = {"type": "file", "file": {"file_data": data_url(data, "application/pdf")}}
        return route(gateway, [text("Sum up"), file], model="auto:hearing")["sim-ear"]

    assert read(pdf(30))["input_tokens"] - read(pdf(10))["input_tokens"] == 20 * 560


def served(gateway, ask):
    """Return the predicted costs of a picture in each dialect, by its official library."""
    return float(ask(gateway).headers["x-route-predicted-cost-usd"])


def by_chat(gateway):
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0) as client:
        return client.chat.completions.with_raw_response.create(
            model="auto",
            max_tokens=50,
            messages=[{"role": "user", "content": [text(), picture_part(PICTURE)]}],
            extra_headers={"x-route-models": "sim-frontier"},
        )


def by_responses(gateway):
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=0) as client:
        content = [
            {"type": "input_text", "text": QUESTION},
            {"type": "input_image", "image_url": data_url(PICTURE), "detail": "auto"},
        ]
        return client.responses.with_raw_response.create(
            model="auto",
            max_output_tokens=50,
            input=[{"role": "user", "content": content}],
            extra_headers={"x-route-models": "sim-frontier"},
        )


def by_messages(gateway):
    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0) as client:
        source = {"type": "base64", "media_type": "image/jpeg", "data": inline(PICTURE)}
        return client.messages.with_raw_response.create(
            model="auto",
            max_tokens=50,
            messages=[{"role": "user", "content": [text(), {"type": "image", "source": source}]}],
            extra_headers={"x-route-models": "sim-frontier"},
        )


def test_a_picture_costs_the_same_in_every_dialect(gateway, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    costs = [served(gateway, ask) for ask in (by_chat, by_responses, by_messages)]
    assert costs == pytest.approx([costs[0]] * 3, rel=1e-3)
    assert costs[0] > COUNTED["sim-frontier"] * 4e-6  # at 4 USD a million
