"""No container engine is needed to see that the deployment files name things that exist."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from app.config import load_config

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_compose_has_every_service_with_a_pinned_image_or_our_build():
    services = {"gateway", "stub", "redis", "collect", "prometheus", "grafana"}
    assert set(COMPOSE["services"]) == services
    for service in COMPOSE["services"].values():
        assert service.get("build") == "." or re.search(r":v?\d", service["image"])


def test_compose_mounts_files_that_exist_and_publishes_on_loopback_only():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source, _, *mode = volume.split(":")
            if source in COMPOSE["volumes"]:
                continue
            assert (ROOT / source).exists()
            assert mode == ["ro"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]


def test_the_image_copies_what_exists_and_lets_the_build_context_in():
    ignored = (ROOT / ".dockerignore").read_text().split()
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(sources).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_the_image_runs_as_somebody_else_with_a_health_check_on_a_config_that_loads():
    assert re.search(r"^USER steelyard$", DOCKERFILE, re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
    name = re.search(r"STEELYARD_CONFIG=/etc/steelyard/(\S+)", DOCKERFILE).group(1)
    config = load_config(ROOT / "configs" / name, env={})
    host = str(config.gateway.upstreams["stub"].base_url).split("/")[2]
    assert host == "stub:8081"
    assert "8081" in COMPOSE["services"]["stub"]["command"]


def test_the_image_has_what_its_commands_import():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"^ARG EXTRAS=\[(.+)\]$", DOCKERFILE, re.MULTILINE).group(1).split(",")
    assert '".$EXTRAS"' in DOCKERFILE
    installed = " ".join(str(project["optional-dependencies"][each]) for each in extras)
    for package in ("pyarrow", "scikit-learn", "opentelemetry-sdk"):
        assert package in installed


def test_compose_hands_on_secrets_and_writes_the_decision_log_where_it_may():
    services = COMPOSE["services"]
    gateway = load_config(ROOT / "configs/gateway.docker.yaml", env={}).gateway
    handed = services["gateway"]["environment"]
    assert {gateway.auth.admin_token_env, gateway.store.redis_url_env} <= set(handed)
    assert gateway.outcomes.sink == "redis"
    stop_s = int(services["gateway"]["stop_grace_period"].removesuffix("s"))
    assert stop_s > gateway.server.drain_s + gateway.server.shutdown_grace_s
    command = services["collect"]["command"]
    (volume,) = (each for each in services["collect"]["volumes"] if "decision-log" in each)
    folder = volume.split(":")[1]
    assert command[command.index("--out") + 1].startswith(folder)
    assert f"--owner steelyard --mode 700 {folder}" in DOCKERFILE


def test_the_gateway_finds_the_redis_that_keeps_keys_and_money():
    config = load_config(ROOT / "configs/gateway.docker.yaml", env={})
    assert config.gateway.store.kind == "redis"
    url = COMPOSE["services"]["gateway"]["environment"][config.gateway.store.redis_url_env]
    assert url.split("/")[2].split(":")[0] in COMPOSE["services"]
    command = COMPOSE["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_prometheus_scrapes_the_gateway_where_it_listens():
    scrape = yaml.safe_load((ROOT / "configs/dashboards/prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["gateway:8080"]}]


def test_compose_gives_prometheus_its_rules_and_grafana_its_dashboards():
    configs = ROOT / "configs/dashboards"
    scrape = yaml.safe_load((configs / "prometheus.yml").read_text())
    assert scrape["rule_files"] == ["rules/*.yml"]
    mounted = COMPOSE["services"]["prometheus"]["volumes"]
    assert "./configs/dashboards/rules:/etc/prometheus/rules:ro" in mounted
    provisioning = configs / "grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/steelyard.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert f"./configs/dashboards/grafana:{folder}:ro" in COMPOSE["services"]["grafana"]["volumes"]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    assert source["isDefault"]


@pytest.mark.parametrize("package", ["prometheus-client", "redis[hiredis]", "uvicorn"])
def test_a_package_whose_insides_are_used_is_bound_from_above(package):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = (each for each in project["dependencies"] if each.startswith(package))
    assert re.search(r",<\d", required), required
