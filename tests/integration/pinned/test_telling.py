"""What traces, the decision log and the list of models tell of models that do not chat."""

import httpx
import pytest

from app.errors import ConfigError
from tests.support.gateway import GatewayThread, stub_config
from tests.support.other_models import with_other_models

_CLIENT = 3


def test_a_trace_names_the_operation(stub, artifacts, tmp_path):
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
    from tests.support.otlp import Collector

    with Collector() as collector:
        traces = {"traces": {"enabled": True, "endpoint": collector.url}}
        changes = with_other_models(tmp_path, **traces)
        config = stub_config(tmp_path, stub.origin, changes=changes)
        with GatewayThread(config, artifacts=artifacts) as gateway:
            body = {"model": "sim-embed", "input": "A steelyard"}
            answer = httpx.post(f"{gateway.url}/v1/embeddings", json=body, trust_env=False)
            assert answer.status_code == 200
    (call,) = [span for span in collector.spans if span.kind == _CLIENT]
    assert call.name == "embeddings sim-embed"
    assert call.attributes["gen_ai.operation.name"] == "embeddings"
    assert "gen_ai.request.max_tokens" not in call.attributes


def test_the_list_of_models_says_what_they_are(fresh_gateway, tmp_path):
    gateway = fresh_gateway(with_other_models(tmp_path))
    models = httpx.get(f"{gateway.url}/v1/models", trust_env=False).json()["data"]
    (card,) = [each for each in models if each["id"] == "sim-embed"]
    assert card["supported_parameters"] == []
    (info,) = httpx.get(f"{gateway.url}/v1/model/info?model=sim-embed", trust_env=False).json()[
        "data"
    ]
    assert info["model_info"]["mode"] == "embedding"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policies.default.candidates": ["sim-embed", "sim-medium"]}, "no conversation can go"),
        ({"routers.carrot.scorer": "sim-embed"}, "no conversation can go"),
        ({"upstreams.stub.kind": "anthropic"}, "cannot be asked for embeddings"),
    ],
    ids=repr,
)
def test_a_configuration_that_would_chat_with_them_is_refused(tmp_path, changes, words):
    changes = {**with_other_models(tmp_path), **changes}
    for policy in ("default", "economy", "quality"):
        changes[f"policies.{policy}.router_deadline_s"] = 2
    with pytest.raises(ConfigError, match=words):
        stub_config(tmp_path, "http://127.0.0.1:1", changes=changes)
