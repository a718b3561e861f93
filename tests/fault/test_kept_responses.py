"""Responses that are kept on a Redis that goes away: nobody is told that they are gone."""

import httpx
import pytest

from tests.support.cascading import wait_for
from tests.support.gateway import GatewayThread, stub_config
from tests.support.redis_server import RedisServer, redis_server_path
from tests.support.watching import metric

pytestmark = pytest.mark.skipif(redis_server_path() is None, reason="no redis-server")

DURABLE = ("--appendonly", "yes", "--appendfsync", "no")
"""What was written outlives the process, if not the machine; and waits for no disk."""


def test_while_redis_is_gone_a_response_is_neither_found_nor_deleted(stub, artifacts, tmp_path):
    changes = {"store": {"kind": "redis", "timeout_s": 5.0}, "responses.store": True}
    with RedisServer(tmp_path / "redis", *DURABLE) as redis:
        env = {"STEELYARD_REDIS_URL": redis.url}
        config = stub_config(tmp_path, stub.origin, changes=changes, env=env)
        with (
            GatewayThread(config, artifacts=artifacts) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
        ):

            def ask(**fields):
                body = {"model": "sim-nano", "input": "Hello", **fields}
                return client.post("/v1/responses", json=body)

            kept = ask().json()["id"]
            path = f"/v1/responses/{kept}"
            calls = [("GET", path), ("GET", f"{path}/input_items"), ("DELETE", path)]
            redis.kill()
            for method, where in calls:
                answer = client.request(method, where)
                assert answer.status_code == 503, answer.text
                assert answer.json()["error"]["code"] == "store_unavailable"
                assert int(answer.headers["retry-after"]) >= 1
            assert metric(gateway, "gateway_store_errors_total") > 0
            unkept = ask(stream=True)
            assert "response.completed" in unkept.text
            # Clients send the whole conversation on it.
            refused = ask(previous_response_id=kept)
            assert refused.status_code == 400
            assert refused.json()["error"]["code"] == "previous_response_not_found"
            redis.start()
            wait_for(lambda: client.get(path).status_code == 200)
            assert client.get(path).json()["id"] == kept
            assert ask(previous_response_id=kept).status_code == 200
            assert client.delete(path).json()["deleted"] is True
            assert [client.request(*each).status_code for each in calls] == [404] * 3
