"""Traces as a collector gets them: spans of requests and of upstream calls."""

import json
import subprocess
import sys

import httpx
import pytest

from tests.support.gateway import REPOSITORY, GatewayThread, stub_config

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

from tests.support.otlp import Collector

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"
CANARY = "canary-prompt-77f0"
SERVER, CLIENT = 2, 3
ERROR = 2


@pytest.fixture
def trace(stub, artifacts, tmp_path):
    """Serve while requests are made; return their answers and what the collector got."""

    def trace(*bodies, changes=None, env=None, headers=None):
        with Collector() as collector:
            config = stub_config(
                tmp_path,
                stub.origin,
                changes={
                    "traces": {"enabled": True, "endpoint": collector.url},
                    "upstreams.stub.retries": 0,
                    **(changes or {}),
                },
                env=env,
            )
            with (
                GatewayThread(config, artifacts=artifacts) as gateway,
                httpx.Client(base_url=gateway.url, trust_env=False, headers=headers) as client,
            ):
                answers = [client.post("/v1/chat/completions", json=body(each)) for each in bodies]
        return answers, collector

    return trace


def body(changes):
    messages = [{"role": "user", "content": f"What is a {CANARY}?"}]
    return {"model": "auto", "max_tokens": 50, "messages": messages, **changes}


def by_kind(collector, kind):
    return [span for span in collector.spans if span.kind == kind]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_a_span_with_its_upstream_call_under_it(trace, stub, stream):
    (answer,), collector = trace({"stream": stream})
    (request,), (call,) = (by_kind(collector, kind) for kind in (SERVER, CLIENT))
    assert len(collector.spans) == 2
    assert request.name == "POST /v1/chat/completions"
    assert request.resource["service.name"] == "steelyard"
    assert request.parent_id == ""
    assert (call.trace_id, call.parent_id) == (request.trace_id, request.span_id)
    assert request.began_ns <= call.began_ns < call.ended_ns <= request.ended_ns
    model = answer.headers["x-route-model"]
    assert call.name == f"chat {model}"
    told = call.attributes
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.system"] == "openai"
    assert told["gen_ai.request.model"] == told["gen_ai.response.model"] == model
    assert told["gen_ai.request.max_tokens"] == 50
    assert len(told["gen_ai.response.finish_reasons"]) == 1
    assert told["gen_ai.usage.output_tokens"] > 0
    assert told["server.address"] == "127.0.0.1"
    assert told["server.port"] == int(stub.origin.rpartition(":")[2])
    assert "gen_ai.provider.name" not in told
    ours = request.attributes
    assert ours["gen_ai.request.model"] == "auto"
    assert ours["http.response.status_code"] == 200
    assert ours["steelyard.decision_id"] == answer.headers["x-route-decision-id"]
    assert ours["steelyard.model"] == model
    assert ours["steelyard.reason"] == "knob"
    assert ours["steelyard.predicted_quality"] > 0
    assert ours["steelyard.cost_usd"] > 0
    assert request.status == call.status == 0


def test_the_newer_names_come_where_they_are_opted_into(trace):
    env = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental"}
    _, collector = trace({"stream": True}, env=env)
    (call,) = by_kind(collector, CLIENT)
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["gen_ai.request.stream"] is True
    assert call.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert call.attributes["gen_ai.usage.cache_read.input_tokens"] == 0
    assert call.attributes["gen_ai.usage.reasoning.output_tokens"] == 0
    assert "gen_ai.system" not in call.attributes


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("bedrock", "", "aws.bedrock"),
        ("gemini", "/v1beta", "gcp.gemini"),
        ("vertex", "/v1/projects/p/locations/l", "gcp.vertex_ai"),
    ],
)
def test_clouds_are_called_as_the_conventions_have_them(trace, stub, kind, path, name):
    changes = {
        "upstreams.stub.kind": kind,
        "upstreams.stub.base_url": f"{stub.origin}{path}",
        "upstreams.stub.api_key_env": "CLOUD_API_KEY",
    }
    env = {
        "CLOUD_API_KEY": "cloud-canary",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    }
    (answer,), collector = trace({"stream": True}, changes=changes, env=env)
    assert answer.status_code == 200
    (call,) = by_kind(collector, CLIENT)
    assert call.attributes["gen_ai.provider.name"] == name
    assert call.attributes["gen_ai.usage.output_tokens"] > 0
    assert "cloud-canary" not in str(collector.spans)


def test_a_trace_of_the_client_goes_on_and_the_upstream_is_told_of_ours(trace, stub):
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=secret-of-the-client"}
    _, collector = trace({}, headers=headers)
    (request,), (call,) = (by_kind(collector, kind) for kind in (SERVER, CLIENT))
    assert (request.trace_id, request.parent_id) == (CLIENT_TRACE, CLIENT_SPAN)
    (entry,) = stub.log()
    assert dict(entry.headers)["traceparent"] == f"00-{CLIENT_TRACE}-{call.span_id}-01"
    assert "tracestate" not in dict(entry.headers)


def test_a_client_that_does_not_sample_is_not_traced(trace, stub):
    _, collector = trace({}, headers={"traceparent": TRACEPARENT[:-2] + "00"})
    assert collector.spans == []
    (entry,) = stub.log()
    assert dict(entry.headers)["traceparent"].endswith("-00")


def test_upstreams_are_told_nothing_where_that_is_switched_off(trace, stub):
    changes = {"traces.propagate": False}
    _, collector = trace({}, changes=changes, headers={"traceparent": TRACEPARENT})
    assert len(collector.spans) == 2
    (entry,) = stub.log()
    assert "traceparent" not in dict(entry.headers)


@pytest.mark.parametrize(
    "sent", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 5000]
)
def test_a_traceparent_that_is_none_begins_a_new_trace(trace, sent):
    (answer,), collector = trace({}, headers={"traceparent": sent})
    assert answer.status_code == 200
    (request,) = by_kind(collector, SERVER)
    assert request.parent_id == ""


def test_a_fallback_is_a_failed_call_and_one_that_serves(trace, stub):
    stub.add_fault("status", status=503, times=1)
    (answer,), collector = trace({})
    assert answer.status_code == 200
    failed, served = sorted(by_kind(collector, CLIENT), key=lambda span: span.began_ns)
    assert failed.status == ERROR
    assert failed.attributes["error.type"] == "upstream_unavailable"
    assert failed.attributes["http.response.status_code"] == 503
    assert served.status == 0
    assert {span.attributes["steelyard.role"] for span in (failed, served)} == {"answer"}
    (request,) = by_kind(collector, SERVER)
    assert request.attributes["steelyard.reason"] == "fallback"
    assert request.attributes["steelyard.calls"] == 2


CASCADE = {
    "routers": {"carrot": {"artifact": "default"}},
    "policies": {
        "default": {
            "router": "carrot",
            "candidates": ["sim-nano", "sim-large"],
            "default_model": "sim-large",
            "router_deadline_s": 20.0,
            "workflow": {
                "kind": "cascade",
                "by": "cost",
                "acceptor": {"kind": "judge", "model": "sim-medium", "deadline_s": 20.0},
            },
        }
    },
}
EASY = "What is a steelyard?"
HARD = "Prove rigorously, step by step, a theorem on the asymptotic complexity of consensus."


def test_each_stage_of_a_cascade_and_each_question_to_its_judge_is_a_call(trace):
    asked = [{"messages": [{"role": "user", "content": text}]} for text in (EASY, HARD)]
    (accepted, escalated), collector = trace(*asked, changes=CASCADE)
    assert accepted.headers["x-route-accepted-by"] == "judge"
    assert escalated.headers["x-route-accepted-by"] == "last_stage"
    calls = sorted(by_kind(collector, CLIENT), key=lambda span: span.began_ns)
    assert [
        (span.attributes["steelyard.role"], span.attributes["steelyard.model"]) for span in calls
    ] == [
        ("draft", "sim-nano"),
        ("judge", "sim-medium"),
        ("draft", "sim-nano"),
        ("judge", "sim-medium"),
        ("answer", "sim-large"),
    ]
    errors = [span.attributes.get("error.type") for span in calls]
    assert errors == [None, None, "draft_rejected", None, None]


def test_a_failed_request_says_so(trace, stub):
    stub.add_fault("status", status=503, times=100)
    (failed, wrong), collector = trace({}, {"routing": {"max_cost": 1e-12}})
    assert (failed.status_code, wrong.status_code) == (502, 400)
    first, second = by_kind(collector, SERVER)
    assert (first.status, first.attributes["error.type"]) == (ERROR, "all_attempts_failed")
    assert (second.status, second.attributes["error.type"]) == (0, "no_eligible_model")


def test_nothing_that_was_said_is_traced_unless_asked_for(trace):
    (answer,), collector = trace({})
    text = answer.json()["choices"][0]["message"]["content"]
    assert CANARY.encode() not in collector.raw
    assert text[:30].encode() not in collector.raw


def test_prompts_and_answers_are_traced_redacted_where_the_operator_opted_in(trace):
    changes = {"traces.content": True, "outcomes.contents.redact": ["canary-[a-z]+"]}
    (answer,), collector = trace({}, changes=changes)
    (call,) = by_kind(collector, CLIENT)
    (prompt,) = json.loads(call.attributes["gen_ai.input.messages"])
    text = "What is a [redacted]-77f0?"
    assert prompt == {"role": "user", "parts": [{"type": "text", "content": text}]}
    (said,) = json.loads(call.attributes["gen_ai.output.messages"])
    told = answer.json()["choices"][0]["message"]["content"]
    assert said["parts"][0]["content"] == told.replace(CANARY, "[redacted]-77f0")
    assert CANARY.encode() not in collector.raw


def test_requests_do_not_wait_for_a_collector_that_is_not_there(stub, artifacts, tmp_path):
    traces = {"enabled": True, "endpoint": "http://127.0.0.1:9/v1/traces"}
    config = stub_config(tmp_path, stub.origin, changes={"traces": traces})
    with GatewayThread(config, artifacts=artifacts) as gateway:
        answer = httpx.post(
            f"{gateway.url}/v1/chat/completions", json=body({}), trust_env=False, timeout=60
        )
    assert answer.status_code == 200


def test_nothing_of_it_is_imported_where_there_are_no_traces():
    code = (
        "import sys, app.main, app.assembly.active_config\n"
        "from pathlib import Path\n"
        "from app.config import load_config\n"
        "app.main.create_app(load_config(Path('configs/gateway.yaml')))\n"
        "loaded = [m for m in sys.modules if m.startswith('opentelemetry.sdk')"
        " or m == 'app.telemetry.traces']\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=300)


def test_the_run_of_an_agent_is_told_by_hashes(trace):
    headers = {
        "session-id": "zebra-session",
        "thread-id": "zebra-thread",
        "x-openai-subagent": "review",
    }
    _, collector = trace({}, headers=headers)
    (span,) = by_kind(collector, SERVER)
    assert span.attributes["steelyard.session_id"].startswith("session-")
    assert span.attributes["steelyard.agent_id"].startswith("agent-")
    assert span.attributes["steelyard.agent_kind"] == "review"
    assert "steelyard.parent_agent_id" not in span.attributes
    assert "zebra" not in repr(collector.spans)
