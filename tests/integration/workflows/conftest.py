"""A gateway with policies of several calls, in front of models that say what they are told to."""

import httpx
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.several import Models, changes_for
from tests.support.watching import assert_no_task_is_left


@pytest.fixture(scope="module")
def served_models():
    with Models() as server:
        yield server
        server.release.set()


@pytest.fixture(scope="module")
def several(served_models, artifacts, tmp_path_factory):
    config = stub_config(
        tmp_path_factory.mktemp("several"),
        served_models.url,
        changes={**changes_for(served_models.url), "breaker.failures": 1_000},
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def models(served_models):
    served_models.reset()
    return served_models


@pytest.fixture
def client(several, models):
    with httpx.Client(base_url=several.url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def ask(client, several):
    """Ask a policy a question of several options; it is all over when the next test begins."""

    def ask(policy, prompt="Which one is right, (A), (B) or (C)?", headers=None, **fields):
        body = {"model": f"auto:{policy}", "messages": [{"role": "user", "content": prompt}]}
        return client.post("/v1/chat/completions", json={**body, **fields}, headers=headers)

    yield ask
    assert_no_task_is_left(several)
