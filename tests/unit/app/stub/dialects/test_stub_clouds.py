"""What the real APIs of Google and AWS refuse, the stub refuses too."""

import json

import httpx
import pytest

from app.stub.server import StubServer

CALL = {"functionCall": {"name": "f", "args": {}}}
RESULT = {"functionResponse": {"name": "f", "response": {"output": "x"}}}
TEXT = {"text": "hi"}
USE = {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}
TOOLS = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}


@pytest.fixture
async def post():
    async with (
        StubServer(speed=0) as stub,
        httpx.AsyncClient(base_url=stub.base_url.removesuffix("/v1"), trust_env=False) as client,
    ):
        yield client.post


async def generate(post, *turns: dict, model: str = "sim-nano") -> httpx.Response:
    path = f"/v1beta/models/{model}:generateContent"
    return await post(path, json={"contents": list(turns)})


async def converse(post, *turns: dict, model: str = "sim-nano", **fields) -> httpx.Response:
    return await post(f"/model/{model}/converse", json={"messages": list(turns), **fields})


def turn(role: str, *parts: dict, key: str = "parts") -> dict:
    return {"role": role, key: list(parts)}


async def test_gemini_wants_as_many_results_as_calls(post):
    asked, called = turn("user", TEXT), turn("model", CALL)
    fine = await generate(post, asked, called, turn("user", RESULT, TEXT))
    assert fine.status_code == 200
    for results in (turn("user", TEXT), turn("user", RESULT, RESULT)):
        refused = await generate(post, asked, called, results)
        assert refused.status_code == 400
        assert "number of function response parts" in refused.json()["error"]["message"]


async def test_gemini_knows_two_roles_and_its_models(post):
    assert "valid role" in (await generate(post, turn("assistant", TEXT))).text
    missing = await generate(post, turn("user", TEXT), model="nobody")
    assert (missing.status_code, missing.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert "not specified" in (await generate(post)).text


async def test_bedrock_wants_turns_that_alternate_and_tools_for_their_blocks(post):
    said = turn("user", TEXT, key="content")
    assert (await converse(post, said)).json()["stopReason"] in ("end_turn", "max_tokens")
    refused = await converse(post, said, said)
    assert refused.status_code == 400
    assert refused.json()["__type"] == "ValidationException"
    used = turn("assistant", USE, key="content")
    result = {"toolResult": {"toolUseId": "a", "content": [TEXT]}}
    answered = turn("user", result, key="content")
    assert "toolConfig field must be defined" in (await converse(post, said, used, answered)).text
    fine = await converse(post, said, used, answered, toolConfig=TOOLS)
    assert fine.status_code == 200


async def test_bedrock_names_models_as_they_stand_in_the_address(post):
    missing = await converse(post, turn("user", TEXT, key="content"), model="a%3Ab")
    assert missing.status_code == 404
    assert "`a:b`" in json.loads(missing.text)["message"]
