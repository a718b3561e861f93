"""Whatever a client sends, the gateway answers in OpenAI's shape and is never at fault itself."""

import asyncio
import json
import string
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.api.knobs import HEADER_KEYS
from app.main import create_app
from tests.support.gateway import stub_config
from tests.support.requests import assert_openai_error

FEW = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

PATHS = st.sampled_from(["/v1/chat/completions", "/v1/route"])
NUMBERS = (
    st.integers(-3, 20)
    | st.integers()
    | st.floats(allow_nan=True)
    | st.sampled_from([10**400, -(10**400), 1e308, 2**63, 2**64])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
MODELS = st.sampled_from(
    ["auto", "auto:economy", "auto:", "sim-nano", "sim-frontier", "router-carrot-0.5", "gpt-9"]
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "refusal"]) | st.text()},
    optional={"text": st.text(max_size=30) | JSON, "image_url": JSON, "refusal": st.text()},
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"]) | JSON},
        optional={
            "content": st.text(max_size=50) | st.lists(PARTS, max_size=3) | JSON,
            "tool_calls": JSON,
            "name": JSON,
        },
    ),
    max_size=4,
)
ROUTING = st.dictionaries(
    st.sampled_from([*HEADER_KEYS.values(), *(name.decode() for name in HEADER_KEYS), "x"]),
    NUMBERS | st.text(max_size=10) | st.lists(MODELS, max_size=3) | JSON,
    max_size=3,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "model": MODELS | JSON,
        "messages": MESSAGES | JSON,
        "stream": st.booleans() | JSON,
        "stream_options": st.fixed_dictionaries({}, optional={"include_usage": JSON}) | JSON,
        "max_tokens": NUMBERS | JSON,
        "max_completion_tokens": NUMBERS | JSON,
        "n": NUMBERS | JSON,
        "tools": st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=3)) | JSON,
        "tool_choice": JSON,
        "functions": JSON,
        "response_format": st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "json_object", "json_schema"]) | JSON},
            optional={"json_schema": JSON},
        )
        | JSON,
        "modalities": JSON,
        "routing": ROUTING | JSON,
        "seed": JSON,
        "x_unknown": JSON,
    },
)
# Requests of which most are good, with arbitrary values where anything goes.
PLAUSIBLE = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["auto", "auto:quality", "sim-small", "router-carrot-0.4"]),
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["system", "user", "assistant", "tool", "critic"]),
                    "content": st.text(max_size=80)
                    | st.none()
                    | st.lists(
                        st.fixed_dictionaries({"type": st.just("text"), "text": st.text()}),
                        max_size=3,
                    ),
                },
                optional={"name": JSON, "x_unknown": JSON, "tool_calls": JSON},
            ),
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "stream": st.booleans(),
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
        "max_tokens": st.integers(1, 60),
        "n": st.integers(1, 3),
        "tools": st.lists(
            st.fixed_dictionaries(
                {"type": st.just("function")},
                optional={"function": st.fixed_dictionaries({"name": JSON, "parameters": JSON})},
            ),
            max_size=2,
        ),
        "tool_choice": JSON,
        "response_format": st.fixed_dictionaries({"type": st.just("json_object")}),
        "routing": st.fixed_dictionaries({"cost_quality": st.floats(0, 1)}),
        "seed": JSON,
        "x_unknown": JSON,
    },
)

# What a server may hand on as a header value: any byte but the line breaks and NUL.
HEADER_VALUES = st.binary(max_size=40).map(
    lambda value: value.translate(None, b"\r\n\0")
) | st.sampled_from([b"0.5", b"economy", b"nan", b"sim-nano,sim-small", b"off", b"full", b"1e-9"])
HEADER_NAMES = st.sampled_from(
    [*HEADER_KEYS, b"content-type", b"x-request-id", b"content-length"]
) | st.text(string.ascii_lowercase + "-", min_size=1, max_size=12).map(
    lambda name: b"x-route-" + name.encode()
)


class App:
    """The application in this process, driven from synchronous tests."""

    def __init__(self, app, runner):
        self._app = app
        self._runner = runner

    def request(self, method, path, **kwargs):
        return self._runner.run(self._request(method, path, kwargs))

    async def _request(self, method, path, kwargs):
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, **kwargs)


@pytest.fixture(scope="module")
def app(stub_thread, artifacts, tmp_path_factory):
    stub_thread.reset()
    changes = {
        "breaker.failures": 1_000_000,
        "upstreams.stub.timeouts.whole_answer_s": 60,
        "server.max_lag_s": 3600,  # the event loop stands still between two requests
    }
    config = stub_config(tmp_path_factory.mktemp("app"), stub_thread.origin, changes=changes)
    app = create_app(config, artifacts=artifacts)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        yield App(app, runner)
        runner.run(lifespan.__aexit__(None, None, None))


def check(response):
    assert response.status_code < 500, response.text[:1000]
    if response.status_code >= 400:
        assert_openai_error(response)
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert response.text.endswith("data: [DONE]\n\n")
    else:
        assert isinstance(response.json(), dict)


@FEW
@given(path=PATHS, body=st.binary(max_size=200))
def test_any_bytes_are_answered(app, path, body):
    check(app.request("POST", path, content=body))


@FEW
@given(path=PATHS, body=JSON)
@example(path="/v1/route", body={"model": "auto", "messages": [{"role": "user"}]})
def test_any_json_is_answered(app, path, body):
    check(app.request("POST", path, content=json.dumps(body).encode("utf-8", "surrogatepass")))


@FEW
@given(path=PATHS, body=BODIES)
def test_any_mix_of_known_fields_is_answered(app, path, body):
    check(app.request("POST", path, content=json.dumps(body).encode("utf-8", "surrogatepass")))


@FEW
@given(path=PATHS, body=PLAUSIBLE)
def test_any_plausible_request_is_answered(app, path, body):
    check(app.request("POST", path, content=json.dumps(body).encode()))


@FEW
@given(path=PATHS, body=PLAUSIBLE, wild=BODIES)
def test_a_plausible_request_with_one_wild_field_is_answered(app, path, body, wild):
    body |= dict(list(wild.items())[-1:])
    check(app.request("POST", path, content=json.dumps(body).encode()))


@FEW
@given(path=PATHS, cut=st.integers(0, 200), put=st.binary(max_size=3), skip=st.integers(0, 3))
def test_a_damaged_request_is_answered(app, path, cut, put, skip):
    body = json.dumps(
        {
            "model": "auto",
            "messages": [{"role": "user", "content": "Straße"}],
            "stream": True,
            "routing": {"cost_quality": 0.5},
        },
        ensure_ascii=False,
    ).encode()
    cut = min(cut, len(body))
    check(app.request("POST", path, content=body[:cut] + put + body[cut + skip :]))


@FEW
@given(path=PATHS, headers=st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=4))
def test_any_header_is_answered(app, path, headers):
    body = b'{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'
    check(app.request("POST", path, content=body, headers=headers))


@FEW
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    path=st.text(max_size=30)
    | st.tuples(
        st.sampled_from(["/v1/", "/v1/models/", "/v1/chat/completions", "/docs", "/metrics/"]),
        st.text(max_size=20),
    ).map("".join),
)
def test_any_path_is_answered(app, method, path):
    response = app.request(method, quote("/" + path.lstrip("/")))
    assert response.status_code < 500
    if response.status_code >= 400:
        assert_openai_error(response)
