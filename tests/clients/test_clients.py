"""Real clients, newest versions, unmodified, over real sockets: see `make clients`."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.clients.environments import ENVIRONMENTS, NODE, NodeEnvironment
from tests.support.gateway import STUB_MODELS, GatewayThread, stub_config
from tests.support.other_models import with_other_models

PROGRAMS = Path(__file__).parent / "programs"
_BY_NAME = {each.name: each for each in ENVIRONMENTS}
_TIMEOUT_S = 240
_ALONE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "ANONYMIZED_TELEMETRY": "False",
}
"""Keep clients from calling home, which takes time and tells who runs the tests."""
PERSON = {"name": "Jason", "age": 25}

CLIENTS = [
    ("openai", "openai_python.py", ("chat", "responses", "completions", "others")),
    ("anthropic", "anthropic_python.py", ("messages",)),
    ("langchain", "langchain_python.py", ("chat", "responses", "messages", "others")),
    ("pydantic-ai", "pydantic_ai_python.py", ("chat", "responses", "messages")),
    ("openai-agents", "openai_agents.py", ("chat", "responses")),
    ("openai-node", "openai_node.mjs", ("chat", "responses", "others")),
    ("ai-sdk", "ai_sdk.mjs", ("chat", "responses", "messages", "others")),
]
"""All APIs of a client in one process: loading a client takes longer than asking by it."""


@pytest.fixture(scope="module")
def all_models(stub_thread, artifacts, tmp_path_factory):
    """Serve models that do not chat, too, and one of an upstream that speaks Messages."""
    directory = tmp_path_factory.mktemp("gateway")
    upstream = {"kind": "anthropic", "base_url": f"{stub_thread.origin}/v1"}
    claude = {"upstream": "claude", "upstream_model": "sim-large", "spec": "claude-sonnet-4-5"}
    changes = {"upstreams.claude": upstream, "models.sim-claude": claude}
    config = stub_config(
        directory, stub_thread.origin, changes=with_other_models(directory, **changes)
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


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


@pytest.mark.parametrize(("name", "program", "apis"), CLIENTS)
def test_a_client_does_what_it_is_made_for(all_models, name, program, apis):
    done = started(name, PROGRAMS / program, all_models.url, *apis)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert list(told) == list(apis)
    for api in apis:
        _CHECKS.get(api, check_chatting)(told[api])


def check_chatting(told):
    """Asked, streamed, called tools and parsed what has to be of a shape."""
    check_completions(told)
    assert set(told["cities"]) == {"Paris", "Rome"}
    for after in ("after", "streamed_after"):
        if after in told:
            assert "Paris: sunny, 22 degrees" in told[after]
            assert "Rome: sunny, 22 degrees" in told[after]
    assert told["person"] == PERSON
    for more in ("function_calling", "json_mode", "in_words"):
        assert told.get(more, PERSON) == PERSON
    assert all(each == PERSON for each in told.get("persons", ()))
    assert told.get("both", "Person") == "Person"
    assert told.get("handed_to", "Weather") == "Weather"
    assert told.get("counted", 1) > 0
    thought = ["thinking", "tool_use", "tool_use"]
    assert told.get("blocks", thought) == thought
    if "cost" in told:
        assert told["cost"] > 0
    if told.get("route") is not None:
        assert told["route"] in STUB_MODELS


def check_completions(told):
    """Got the same text whole and streamed."""
    assert "simulated answer" in told["text"]
    assert told["streamed"] == told["text"]


def check_others(told):
    """Asked for vectors, and some clients for pictures and sound."""
    assert told["vectors"] == [256, 256]
    if "heard" not in told:
        return
    assert told["cost"] > 0
    assert told["pictures"] == 2
    assert told["events"] == ["image_generation.partial_image", "image_generation.completed"]
    assert "transcription of rivers.mp3" in told["heard"]
    assert told["words"] == told["heard"]
    assert told["flagged"] is True


_CHECKS = {"completions": check_completions, "others": check_others}
