"""`/v1/responses` by the official SDK, over sockets."""

import contextlib
import json
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.support.requests import assert_openai_error

ADMIN_TOKEN = "admin-token-of-the-tests-0123456789"  # noqa: S105  (made up)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


class Verdict(BaseModel):
    word: str
    sure: bool


@contextlib.contextmanager
def client_of(gateway: Any, **options: Any):
    with openai.OpenAI(
        base_url=gateway.openai_url, api_key="sk-client", max_retries=0, **options
    ) as client:
        yield client


@pytest.fixture
def client(gateway):
    with client_of(gateway) as client:
        yield client


@pytest.fixture
def keeping(fresh_gateway):
    """Clients of a gateway that keeps responses."""
    return fresh_gateway({"responses.store": True})


def test_a_plain_answer_is_a_response_with_usage_and_cost(client):
    raw = client.responses.with_raw_response.create(
        model="auto", input="What is a steelyard?", extra_headers={"x-cost-quality": "0"}
    )
    response = raw.parse()
    assert response.output_text
    assert response.status == "completed"
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0
    assert response.model
    assert raw.headers["x-route-model"]
    assert float(raw.headers["x-route-cost-usd"]) == usage.model_extra["cost_usd"] > 0
    assert response.store is False


def test_a_stream_comes_in_order_and_ends_completed(client):
    with client.responses.stream(model="auto", input="What is a steelyard?") as stream:
        events = list(stream)
        response = stream.get_final_response()
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [each.sequence_number for each in events] == list(range(len(events)))
    text = "".join(each.delta for each in events if each.type == "response.output_text.delta")
    assert text == response.output_text
    assert response.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_tool_loop(client, stream):
    history: list[Any] = [{"role": "user", "content": "Call get_weather for Paris, please."}]
    options: dict[str, Any] = {
        "model": "auto",
        "tools": [WEATHER],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "tool_choice": "required",
    }
    response = _answer(client, stream=stream, input=history, **options)
    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather"]
    history += [item.to_dict() for item in response.output]
    history += [
        {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
        for call in calls
    ]
    answer = _answer(client, stream=stream, input=history, **{**options, "tool_choice": "auto"})
    assert answer.output_text


def _answer(client: openai.OpenAI, *, stream: bool, **options: Any) -> Any:
    if not stream:
        return client.responses.create(**options)
    with client.responses.stream(**options) as events:
        return events.get_final_response()


def test_a_structured_answer_parses(client):
    answer = client.responses.parse(model="auto", input="Judge it.", text_format=Verdict)
    assert isinstance(answer.output_parsed, Verdict)


def test_a_cut_answer_is_incomplete(client):
    answer = client.responses.create(
        model="auto", input="Tell me everything about weighing.", max_output_tokens=16
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_what_cannot_be_asked_of_the_model_is_told(client):
    raw = client.responses.with_raw_response.create(
        model="auto", input="Hi", tools=[{"type": "web_search"}], truncation="auto"
    )
    assert raw.headers["x-route-left-out"] == "truncation, tools.web_search"


def test_names_that_no_header_can_hold_are_counted(client):
    fields = {"a\r\nb": 1, "ü": 2, **{f"field_{i}": 0 for i in range(30)}}
    raw = client.responses.with_raw_response.create(model="auto", input="Hi", extra_body=fields)
    told = raw.headers["x-route-left-out"].split(", ")
    assert told[0] == "field_0"
    assert told[-1] == "and 12 more"


@pytest.mark.parametrize("path", ["responses", "responses/"])
def test_without_a_store_an_earlier_response_is_not_found(gateway, path):
    answer = httpx.post(
        f"{gateway.url}/v1/{path}".rstrip("/"),
        json={"model": "auto", "input": "And?", "previous_response_id": "resp_1"},
        trust_env=False,
    )
    error = assert_openai_error(answer, status=400)
    assert error["code"] == "previous_response_not_found"
    assert error["param"] == "previous_response_id"


def test_a_stored_conversation_goes_on_by_its_id(keeping, stub):
    with client_of(keeping) as client:
        first = client.responses.create(model="auto", input="My name is Ada.", instructions="X.")
        assert first.store is True
        with client.responses.stream(
            model="auto", input="Who am I?", previous_response_id=first.id
        ) as stream:
            second = stream.get_final_response()
        third = client.responses.create(
            model="auto", input="Sure?", previous_response_id=second.id, store=False
        )
        assert second.previous_response_id == first.id
        messages = stub.log()[-1].body["messages"]
        assert [each["role"] for each in messages] == [
            *("user", "assistant", "user", "assistant", "user")
        ]
        assert messages[0]["content"] == "My name is Ada."
        assert messages[1]["content"] == first.output_text
        assert messages[3]["content"] == second.output_text
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(third.id)


def test_an_earlier_response_is_found_however_its_field_is_written(keeping, stub):
    with httpx.Client(base_url=keeping.url, trust_env=False) as client:
        first = client.post("/v1/responses", json={"model": "sim-nano", "input": "First"}).json()
        body = json.dumps({"model": "sim-nano", "input": "Next"})[:-1]
        body += f', "pr\\u0065vious_response_id": "{first["id"]}"}}'
        assert client.post("/v1/responses", content=body).status_code == 200
    assert [each["content"] for each in stub.log()[-1].body["messages"]][::2] == ["First", "Next"]


def test_a_stored_response_can_be_read_listed_and_deleted(keeping):
    with client_of(keeping) as client:
        first = client.responses.create(model="auto", input="One.")
        second = client.responses.create(
            model="auto", input=[{"role": "user", "content": "Two."}], previous_response_id=first.id
        )
        found = client.responses.retrieve(second.id)
        assert found.output_text == second.output_text
        items = client.responses.input_items.list(second.id, order="asc").data
        assert [each.role for each in items] == ["user", "assistant", "user"]
        page = client.responses.input_items.list(second.id, limit=2)
        assert [each.role for each in page.data] == ["user", "assistant"]
        assert page.has_more
        client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(second.id)
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="auto", input="x", previous_response_id=second.id)
        assert caught.value.code == "previous_response_not_found"


def test_a_websocket_is_refused_at_once_so_that_clients_go_on_over_http(gateway):
    answer = httpx.get(
        f"{gateway.url}/v1/responses",
        headers={
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
        },
        trust_env=False,
    )
    assert answer.status_code == 426
    assert answer.headers["connection"] == "close"


def test_a_body_of_this_shape_on_chat_completions_is_answered_in_chunks(gateway):
    """As Cursor's agent asks."""
    flat = {key: value for key, value in WEATHER.items() if key != "strict"}
    with httpx.stream(
        "POST",
        f"{gateway.url}/v1/chat/completions",
        json={
            "model": "auto",
            "input": [{"role": "user", "content": "Call get_weather for Paris, please."}],
            "tools": [flat],
            "tool_choice": "required",
            "stream": True,
        },
        trust_env=False,
    ) as answer:
        text = answer.read().decode()
    assert answer.status_code == 200
    assert '"object":"chat.completion.chunk"' in text.replace('": "', '":"')
    assert '"get_weather"' in text
    assert text.endswith("data: [DONE]\n\n")


FUNCTION = {"type": "function", "name": "weigh"}


@pytest.mark.parametrize(
    "fields",
    [
        {"include": True},
        {"include": {}},
        {"stream": "yes"},
        {"top_logprobs": "2"},
        {"instructions": []},
        {"input": [{"type": ["message"]}]},
        {"input": [{"role": ["user"], "content": "x"}]},
        {"tools": [{**FUNCTION, "description": 5}]},
        {"tools": [FUNCTION], "tool_choice": {"type": []}},
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": 5}},
        {"tools": [FUNCTION], "tool_choice": {**FUNCTION, "namespace": []}},
        {"max_output_tokens": "5"},
        {"max_output_tokens": -1},
        {"max_output_tokens": 10**30},
        {"input": []},
        {"prompt": {"id": "pmpt_1"}},
    ],
)
def test_a_field_of_the_wrong_kind_is_a_400_that_names_it(gateway, fields):
    body = {"model": "sim-nano", "input": "Hello", **fields}
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        answer = client.post("/v1/responses", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"].startswith(list(fields)[-1])
    assert list(fields)[-1] in error["message"]


def test_what_the_answer_repeats_is_what_was_sent(gateway):
    body = '{"model": "sim-nano", "input": "Hello", "metadata": {\n"n":\r1e400}%s}'
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        whole = client.post("/v1/responses", content=body % "")
        streamed = client.post("/v1/responses", content=body % ', "stream": true')
    assert whole.json()["metadata"] == {"n": float("inf")}
    last = json.loads(streamed.text.strip().rpartition("data: ")[2])
    assert last["response"]["metadata"] == whole.json()["metadata"]


def test_a_response_is_found_by_the_key_that_it_was_given_to_alone(fresh_gateway):
    gateway = fresh_gateway(
        {"responses.store": True, "auth.mode": "keys", "store.data_dir": "store"},
        env={"STEELYARD_ADMIN_TOKEN": ADMIN_TOKEN},
    )
    secrets = [
        httpx.post(
            f"{gateway.url}/admin/keys",
            json={"name": name},
            headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
            trust_env=False,
        ).json()["secret"]
        for name in ("ada", "bob")
    ]
    ada, bob = (
        openai.OpenAI(base_url=gateway.openai_url, api_key=secret, max_retries=0)
        for secret in secrets
    )
    with ada, bob:
        first = ada.responses.create(model="auto", input="My name is Ada.")
        with pytest.raises(openai.NotFoundError):
            bob.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            bob.responses.delete(first.id)
        with pytest.raises(openai.BadRequestError) as caught:
            bob.responses.create(model="auto", input="Who?", previous_response_id=first.id)
        assert caught.value.code == "previous_response_not_found"
        assert ada.responses.retrieve(first.id).output_text == first.output_text


def test_a_response_that_was_kept_is_not_streamed_again(keeping):
    with httpx.Client(base_url=keeping.url, trust_env=False) as client:
        made = client.post("/v1/responses", json={"model": "sim-nano", "input": "One."}).json()
        answer = client.get(f"/v1/responses/{made['id']}", params={"stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "stream"


def test_tokens_are_counted_without_an_answer(keeping, stub):
    with client_of(keeping) as client:
        first = client.responses.create(model="auto", input="What is a steelyard?")
        stub.reset()
        alone = client.responses.input_tokens.count(model="auto", input="And?")
        after = client.responses.input_tokens.count(
            model="auto", input="And?", previous_response_id=first.id
        )
        assert alone.object == "response.input_tokens"
        assert 0 < alone.input_tokens < after.input_tokens
        assert not stub.log()
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.input_tokens.count(model="auto", input=[])
        assert caught.value.param == "input"
