"""The gateway of the Kubernetes base, asked for its metrics as the base's ServiceMonitor asks."""

import httpx
import yaml

from tests.support.gateway import CONFIGS
from tests.support.processes import gateway_process
from tests.support.redis_server import free_port

K8S = CONFIGS / "k8s"
SECRETS = {
    "openai-api-key": "sk-test",
    "admin-token": "an-admin-token-of-the-tests",
    "metrics-token": "a-metrics-token-of-the-tests",
}


def manifest(name):
    return yaml.safe_load((K8S / name).read_text(encoding="utf-8"))


async def test_the_base_is_scraped_as_it_is_deployed(redis_server, tmp_path):
    document = manifest("gateway.yaml") | {"catalogue": str(CONFIGS / "models.yaml")}
    port = document["server"]["metrics_port"] = free_port()
    document["store"]["prefix"] = f"test-k8s-{port}"
    document["server"] |= {"host": "127.0.0.1", "drain_s": 0}
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    (container,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    secrets = SECRETS | {"redis-url": redis_server.url}
    env = {
        each["name"]: secrets[each["valueFrom"]["secretKeyRef"]["key"]] for each in container["env"]
    }
    (endpoint,) = manifest("monitor.yaml")["spec"]["endpoints"]
    shown = secrets[endpoint["authorization"]["credentials"]["key"]]
    async with (
        gateway_process(config, env=env) as gateway,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as prometheus,
        gateway.client() as client,
    ):
        kind = endpoint["authorization"]["type"]
        told = await prometheus.get(endpoint["path"], headers={"authorization": f"{kind} {shown}"})
        assert told.status_code == 200
        assert "gateway_build_info" in told.text
        assert (await prometheus.get(endpoint["path"])).status_code == 401
        assert (await client.get(endpoint["path"])).status_code == 404
