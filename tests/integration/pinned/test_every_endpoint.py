"""Every endpoint of models that do not chat, by OpenAI's own client: answered, counted and paid."""

import base64
import warnings
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import GatewayThread, stub_config
from tests.support.other_models import with_other_models
from tests.support.requests import assert_openai_error

INPUT_USD, OUTPUT_USD, ANSWER_USD = 0.1e-6, 10e-6, 0.04
SOUND = ("a.wav", b"RIFF....WAVE", "audio/wav")
PICTURE = ("a.png", b"\x89PNG\r\n\x1a\n....", "image/png")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and what has to be told of it."""

    path: str
    ask: Any
    model: str
    n: int = 1
    tokens: tuple[int, int] | None = None
    stream: bool = False


def raw(place, **fields):
    """Ask by a method of the client, and read all of the answer."""
    *resources, method = place.split(".")

    def ask(client):
        resource = client
        for name in resources:
            resource = getattr(resource, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the client's own
            answer = getattr(resource.with_raw_response, method)(**fields)
        told = answer.parse()
        return answer.headers, list(told) if fields.get("stream") else told

    return ask


def rerank(client):
    body = {"model": "sim-rerank", "query": "a ship", "documents": ["a balance", "a ship"]}
    answer = client.post("/rerank", body=body, cast_to=httpx.Response)
    return answer.headers, answer.json()


CASES = {
    "embeddings": Case(
        path="/v1/embeddings",
        ask=raw("embeddings.create", model="sim-embed", input=["a ship", "a balance"]),
        model="sim-embed",
        n=0,
        tokens=(2 + 3, 0),
    ),
    "moderations": Case(
        path="/v1/moderations",
        ask=raw("moderations.create", model="sim-moderation", input="fine"),
        model="sim-moderation",
    ),
    "rerank": Case(path="/v1/rerank", ask=rerank, model="sim-rerank", tokens=(2 + 3 + 2, 0)),
    "generations": Case(
        path="/v1/images/generations",
        ask=raw("images.generate", model="sim-image", prompt="a ship", n=3),
        model="sim-image",
        n=3,
        tokens=(2, 3 * 256),
    ),
    "generations in events": Case(
        path="/v1/images/generations",
        ask=raw(
            "images.generate",
            model="sim-image",
            prompt="a ship",
            stream=True,
            partial_images=2,
        ),
        model="sim-image",
        tokens=(2, 256 + 200),
        stream=True,
    ),
    "edits": Case(
        path="/v1/images/edits",
        ask=raw(
            "images.edit",
            model="sim-image",
            prompt="a ship",
            image=[PICTURE, PICTURE],
            n=2,
        ),
        model="sim-image",
        n=2,
        tokens=(2 + 2 * 256, 2 * 256),
    ),
    "edits in events": Case(
        path="/v1/images/edits",
        ask=raw(
            "images.edit",
            model="sim-image",
            prompt="a ship",
            image=PICTURE,
            mask=PICTURE,
            stream=True,
            partial_images=1,
        ),
        model="sim-image",
        tokens=(2 + 256, 256 + 100),
        stream=True,
    ),
    "variations": Case(
        path="/v1/images/variations",
        ask=raw("images.create_variation", model="sim-image", image=PICTURE, n=2),
        model="sim-image",
        n=2,
        tokens=(2 + 256, 2 * 256),
    ),
    "speech": Case(
        path="/v1/audio/speech",
        ask=raw("audio.speech.create", model="sim-speech", voice="alloy", input="a ship"),
        model="sim-speech",
        stream=True,
    ),
    "transcriptions": Case(
        path="/v1/audio/transcriptions",
        ask=raw("audio.transcriptions.create", model="sim-transcribe", file=SOUND),
        model="sim-transcribe",
    ),
    "transcriptions in events": Case(
        path="/v1/audio/transcriptions",
        ask=raw(
            "audio.transcriptions.create",
            model="sim-transcribe",
            file=SOUND,
            stream=True,
        ),
        model="sim-transcribe",
        tokens=(10, 11),
        stream=True,
    ),
    "translations": Case(
        path="/v1/audio/translations",
        ask=raw("audio.translations.create", model="sim-transcribe", file=SOUND),
        model="sim-transcribe",
    ),
}
WITH_OUTPUT = {"output_usd_per_mtok": 10.0, "usd_per_answer": ANSWER_USD}


def asked(url, case):
    with openai.OpenAI(
        base_url=f"{url}/v1",
        api_key="none",
        max_retries=0,
        http_client=httpx.Client(trust_env=False),
    ) as client:
        return case.ask(client)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was told of one request, on each of the ways."""

    headers: httpx.Headers
    answer: Any
    row: Any
    counted: dict[str, float]


def counters(url, *, n_requests):
    """Return all counters, once so many requests are in them: the last is a moment after it."""
    while True:
        found = _counters(url)
        counted = [name for name in found if name.startswith("gateway_requests_total{")]
        if sum(found[name] for name in counted) >= n_requests:
            return found


def _counters(url):
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines if "_total{" in name}


@pytest.fixture(scope="module")
def seen(stub_thread, artifacts, tmp_path_factory):
    """Ask for all of it, one after the other, of one gateway."""
    directory = tmp_path_factory.mktemp("gateway")
    changes = with_other_models(directory, **WITH_OUTPUT, **{"store.data_dir": "data"})
    config = stub_config(directory, stub_thread.origin, changes=changes)
    told = []
    with GatewayThread(config, artifacts=artifacts) as gateway:
        before = counters(gateway.url, n_requests=0)
        for n_before, case in enumerate(CASES.values()):
            headers, answer = asked(gateway.url, case)
            after = counters(gateway.url, n_requests=n_before + 1)
            grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
            told.append((headers, answer, {name: more for name, more in grown.items() if more}))
            before = after
    rows = [row for _, row in read_outcomes(directory / "data")]
    return {
        name: Seen(headers=headers, answer=answer, row=row, counted=counted)
        for name, (headers, answer, counted), row in zip(CASES, told, rows, strict=True)
    }


@pytest.mark.parametrize("name", CASES)
def test_it_is_answered_kept_counted_and_paid(seen, name):
    case, told = CASES[name], seen[name]
    row, headers = told.row, told.headers
    assert row.request_id == headers["x-request-id"]
    assert row.decision_id == headers["x-route-decision-id"]
    assert row.model == headers["x-route-model"] == case.model
    assert (row.status, row.error, row.stream) == (200, None, case.stream)
    assert (row.policy, row.reason, row.upstream) == ("pinned", "pinned", "stub")
    usd = case.n * ANSWER_USD
    if case.tokens is not None:
        assert (row.input_tokens, row.output_tokens, row.estimated) == (*case.tokens, False)
        usd += case.tokens[0] * INPUT_USD + case.tokens[1] * OUTPUT_USD
        assert row.cost_nusd == pytest.approx(usd * 1e9, abs=1)
    assert row.cost_nusd >= usd * 1e9 - 1
    if not case.stream:
        assert float(headers["x-route-cost-usd"]) == pytest.approx(row.cost_nusd / 1e9, abs=1e-8)
    paid = f'gateway_cost_usd_total{{model="{case.model}",role="answer"}}'
    assert told.counted[paid] == pytest.approx(row.cost_nusd / 1e9, abs=1e-9)
    counted = [name for name in told.counted if name.startswith("gateway_requests_total{")]
    assert len(counted) == 1
    assert f'route="{case.path}"' in counted[0]
    assert 'status_class="2xx"' in counted[0]


def test_pictures_come_in_parts_and_whole_as_they_are_made(seen):
    for name, kind, n_partial in (
        ("generations in events", "image_generation", 2),
        ("edits in events", "image_edit", 1),
    ):
        *partial, last = seen[name].answer
        assert [each.type for each in partial] == [f"{kind}.partial_image"] * n_partial
        assert [each.partial_image_index for each in partial] == list(range(n_partial))
        assert last.type == f"{kind}.completed"
        pictures = [base64.b64decode(each.b64_json) for each in (*partial, last)]
        assert all(each.startswith(b"\x89PNG\r\n") for each in pictures)
        assert len(set(pictures)) == n_partial + 1
        assert seen[name].headers["content-type"] == "text/event-stream; charset=utf-8"


def test_what_is_heard_comes_word_by_word_and_whole(seen):
    *deltas, done = seen["transcriptions in events"].answer
    assert "".join(each.delta for each in deltas) == done.text
    assert done.text == seen["transcriptions"].answer.text
    assert "simulated translation of a.wav" in seen["translations"].answer.text


@pytest.mark.parametrize("name", ["generations", "edits", "variations"])
def test_each_picture_is_another(seen, name):
    pictures = [each.b64_json for each in seen[name].answer.data]
    assert len(set(pictures)) == CASES[name].n


BUDGET = {"allowances.gateway.budgets": [{"usd": 1e-9, "period": "month"}]}
LIMIT = {"allowances.gateway.limits": {"requests_per_minute": 1}}


@pytest.mark.parametrize(
    ("changes", "code"),
    [(BUDGET, "gateway_budget_exceeded"), (LIMIT, "gateway_requests_limit_exceeded")],
    ids=["budget", "limit"],
)
def test_budgets_and_limits_refuse_all_of_it_unasked(fresh_gateway, tmp_path, stub, changes, code):
    gateway = fresh_gateway(with_other_models(tmp_path, **WITH_OUTPUT, **changes))
    if changes is LIMIT:
        asked(gateway.url, CASES["moderations"])
        stub.reset()
    for name, case in CASES.items():
        with pytest.raises(openai.RateLimitError) as refused:
            asked(gateway.url, case)
        error = assert_openai_error(refused.value.response, status=429)
        assert error["code"] == code, name
    assert stub.log() == []
