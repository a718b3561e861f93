"""Real clients, newest versions, unmodified, over real sockets: see `make clients`."""

import json
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from tests.clients.environments import ENVIRONMENTS, NODE, NodeEnvironment
from tests.support.gateway import STUB_MODELS

PROGRAMS = Path(__file__).parent / "programs"
_BY_NAME = {each.name: each for each in ENVIRONMENTS}
_PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
}
_TIMEOUT_S = 120
_ALONE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "ANONYMIZED_TELEMETRY": "False",
}
"""Keep clients from calling home, which takes time and tells who runs the tests."""
PERSON = {"name": "Jason", "age": 25}

GENERATING = [
    ("openai", "openai_python.py", "chat"),
    ("openai", "openai_python.py", "responses"),
    ("anthropic", "anthropic_python.py", "messages"),
    ("langchain", "langchain_python.py", "chat"),
    ("langchain", "langchain_python.py", "responses"),
    ("langchain", "langchain_python.py", "messages"),
    ("pydantic-ai", "pydantic_ai_python.py", "chat"),
    ("pydantic-ai", "pydantic_ai_python.py", "responses"),
    ("pydantic-ai", "pydantic_ai_python.py", "messages"),
    ("openai-agents", "openai_agents.py", "chat"),
    ("openai-agents", "openai_agents.py", "responses"),
    ("openai-node", "openai_node.mjs", "chat"),
    ("openai-node", "openai_node.mjs", "responses"),
    ("ai-sdk", "ai_sdk.mjs", "chat"),
    ("ai-sdk", "ai_sdk.mjs", "responses"),
    ("ai-sdk", "ai_sdk.mjs", "messages"),
]


def started(name: str, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the environment of a client, where there is one."""
    environment = _BY_NAME[name]
    on_node = isinstance(environment, NodeEnvironment)
    if not environment.is_installed or (on_node and not NODE.is_installed):
        pytest.skip(f"no environment of {name}; `make clients` installs it where it can be had")
    if on_node:
        # Node.js looks for packages beside the program, and nowhere else.
        beside = environment.home / f"{uuid.uuid4()}.mjs"
        beside.write_bytes(program.read_bytes())
        program = beside
    try:
        return subprocess.run(
            [environment.interpreter, program, *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={"PATH": "", "HOME": str(environment.home), "NO_PROXY": "127.0.0.1", **_ALONE},
        )
    finally:
        if on_node:
            program.unlink()


def run(name, program, api, gateway):
    """Run a client's program against the gateway; return what it saw."""
    served = httpx.post(f"{gateway.url}{_PATHS[api]}", json={}, trust_env=False)
    if served.status_code == 400 and "this gateway has no" in served.text:
        pytest.skip(f"{_PATHS[api]} is not served yet")
    done = started(name, PROGRAMS / program, gateway.url, api)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("name", "program", "api"), GENERATING)
def test_a_client_asks_streams_calls_tools_and_parses(gateway, name, program, api):
    told = run(name, program, api, gateway)
    assert "simulated answer" in told["text"]
    assert told["streamed"] == told["text"]
    assert sorted(told["cities"])[:2] == ["Paris", "Rome"]
    assert "Paris: sunny, 22 degrees" in told["after"]
    assert "Rome: sunny, 22 degrees" in told["after"]
    assert told["person"] == PERSON
    for more in ("function_calling", "json_mode", "in_words"):
        assert told.get(more, PERSON) == PERSON
    assert all(each == PERSON for each in told.get("persons", ()))
    assert told.get("both", "Person") == "Person"
    assert told.get("handed_to", "Weather") == "Weather"
    if "cost" in told:
        assert told["cost"] > 0
    if told.get("route") is not None:
        assert told["route"] in STUB_MODELS


def test_plain_prompts_are_completed_whole_and_streamed(gateway):
    told = run("openai", "openai_python.py", "completions", gateway)
    assert "simulated answer" in told["text"]
    assert told["streamed"] == told["text"]
