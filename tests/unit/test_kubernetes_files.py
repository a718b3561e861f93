"""No cluster is needed to see that the manifests fit each other, the image and the gateway."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from app.config import load_config
from app.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
K8S = ROOT / "configs" / "k8s"
KUSTOMIZATION = yaml.safe_load((K8S / "kustomization.yaml").read_text())
RESOURCES = [
    document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((K8S / name).read_text())
]
API_VERSIONS = {
    "Namespace": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}


def one(kind, name="gateway"):
    (found,) = (
        each for each in RESOURCES if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


def pod(workload):
    return workload["spec"]["template"]["spec"]


def container(workload):
    (only,) = pod(workload)["containers"]
    return only


@pytest.fixture(scope="module")
def config():
    env = {
        "OPENAI_API_KEY": "x",
        "STEELYARD_REDIS_URL": "redis://redis:6379/0",
        "STEELYARD_METRICS_TOKEN": "x",
    }
    text = (K8S / "gateway.yaml").read_text()
    assert "catalogue: /etc/steelyard/models.yaml" in text
    assert (ROOT / "configs" / "models.yaml").exists()  # the image has configs/ there
    here = K8S / "gateway.yaml"
    document = yaml.safe_load(text) | {"catalogue": str(ROOT / "configs" / "models.yaml")}
    return here, document, env


def loaded(config, tmp_path):
    _, document, env = config
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_config(path, env=env)


def test_every_file_is_in_the_kustomization_and_of_a_known_version():
    generated = {name for each in KUSTOMIZATION["configMapGenerator"] for name in each["files"]}
    files = {each.name for each in K8S.glob("*.yaml")}
    assert files == {"kustomization.yaml", *generated, *KUSTOMIZATION["resources"]}
    for resource in RESOURCES:
        assert resource["apiVersion"] == API_VERSIONS[resource["kind"]]
    names = [(each["kind"], each["metadata"]["name"]) for each in RESOURCES]
    assert len(set(names)) == len(names)


def test_what_selects_pods_finds_them():
    gateway, redis = one("Deployment"), one("StatefulSet", "redis")
    for workload in (gateway, redis):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"] == labels
    labels = gateway["spec"]["template"]["metadata"]["labels"]
    assert one("Service")["spec"]["selector"] == labels
    assert one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= (
        one("Service")["metadata"]["labels"].items()
    )
    stored = redis["spec"]["template"]["metadata"]["labels"]
    policy = one("NetworkPolicy", "redis")["spec"]
    assert policy["podSelector"]["matchLabels"] == stored
    (rule,) = policy["ingress"]
    assert [each["podSelector"]["matchLabels"] for each in rule["from"]] == [labels]
    assert "egress" not in policy
    assert "Egress" in policy["policyTypes"]


def test_the_gateway_gets_a_configuration_that_loads_and_every_secret_it_names(config, tmp_path):
    gateway = loaded(config, tmp_path).gateway
    variables = {each["name"] for each in container(one("Deployment"))["env"]}
    keys = {each.api_key_env for each in gateway.upstreams.values()}
    named = {gateway.store.redis_url_env, gateway.auth.admin_token_env}
    assert variables == keys | named | {gateway.server.metrics_token_env}
    assert gateway.store.kind == "redis"
    assert gateway.auth.keys_needed
    mounted = container(one("Deployment"))["volumeMounts"][0]["mountPath"]
    assert f"{mounted}/gateway.yaml" in container(one("Deployment"))["args"]


def test_ports_and_probes_are_those_of_the_gateway(config, tmp_path):
    server = loaded(config, tmp_path).gateway.server
    each = container(one("Deployment"))
    ports = {port["name"]: port["containerPort"] for port in each["ports"]}
    assert ports == {"http": server.port, "metrics": server.metrics_port}
    ops = (ROOT / "app" / "api" / "ops.py").read_text()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'"{each[probe]["httpGet"]["path"]}"' in ops
    assert "ready" not in each["livenessProbe"]["httpGet"]["path"]  # a lost Redis kills no pod
    (endpoint,) = one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in one("Service")["spec"]["ports"]}
    rules = one("NetworkPolicy")["spec"]["ingress"]
    assert {rule["ports"][0]["port"] for rule in rules} == set(ports.values())


def test_requests_may_end_before_the_pod_is_killed(config, tmp_path):
    server = loaded(config, tmp_path).gateway.server
    grace_s = pod(one("Deployment"))["terminationGracePeriodSeconds"]
    assert grace_s > server.drain_s + server.shutdown_grace_s
    probe = container(one("Deployment"))["readinessProbe"]
    assert server.drain_s > probe["periodSeconds"] * probe["failureThreshold"]


def test_the_autoscaler_goes_by_a_metric_that_exists():
    metrics = Metrics(CollectorRegistry())
    exported = {family.name for family in metrics.registry.collect()}
    asked = {
        each["pods"]["metric"]["name"]
        for each in one("HorizontalPodAutoscaler")["spec"]["metrics"]
        if each["type"] == "Pods"
    }
    assert asked
    assert asked <= exported
    target = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "gateway")
    assert "replicas" not in one("Deployment")["spec"]


def test_memory_is_refused_before_it_is_killed_for(config, tmp_path):
    limit = container(one("Deployment"))["resources"]["limits"]["memory"]
    mebibytes = int(re.fullmatch(r"(\d+)Gi", limit)[1]) * 1024
    assert loaded(config, tmp_path).gateway.server.max_rss_mb < 0.9 * mebibytes


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "gateway"), ("StatefulSet", "redis")])
def test_pods_pass_the_restricted_standard_that_the_namespace_enforces(kind, name):
    namespace = one("Namespace", KUSTOMIZATION["namespace"])
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    workload = one(kind, name)
    assert pod(workload)["securityContext"]["runAsNonRoot"] is True
    assert pod(workload)["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container(workload)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_redis_keeps_money_and_refuses_when_full():
    arguments = " ".join(container(one("StatefulSet", "redis"))["args"])
    assert "--appendonly yes" in arguments
    assert "--maxmemory-policy noeviction" in arguments
    assert "requirepass" in arguments


def test_no_secret_stands_in_the_files():
    for path in K8S.glob("*.yaml"):
        assert not re.search(
            r"kind: Secret\b|sk-[A-Za-z0-9]|redis://[^ ]*:[^ ]*@", path.read_text()
        )
