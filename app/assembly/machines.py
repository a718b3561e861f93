"""Machines that load models on demand: from a configuration to what is known of them."""

import math
from collections.abc import Mapping

from app.config import LoadedConfig
from app.gateway.deployments.machines import Home, HostedModel, MachineRule, Machines
from app.gateway.deployments.watched_machines import WatchedMachine
from app.http_client.transport import HttptoolsTransport
from app.providers.http.loaded_models import LoadedModels


def build_homes(
    config: LoadedConfig, machines: Machines
) -> tuple[Mapping[tuple[str, str], Home], tuple[WatchedMachine, ...]]:
    """Return where models are loaded on demand, by upstream and name there, and whom to ask.

    Parameters
    ----------
    machines
        What is known of them from before.
    """
    hosted: dict[str, dict[str, HostedModel]] = {}
    usd_per_hour: dict[tuple[str, str], float] = {}
    upstreams = config.gateway.upstreams
    for model_id, model in config.gateway.models.items():
        for place in model.places:
            on_demand = upstreams[place.upstream].residency
            if on_demand is None or place.load_s is None:
                continue
            name = place.upstream_model or model_id
            hosted.setdefault(place.upstream, {})[name] = HostedModel(
                memory_gb=place.memory_gb or 0.0, load_s=place.load_s
            )
            own_usd = place.usd_per_hour
            usd_per_hour[place.upstream, name] = (
                on_demand.usd_per_hour if own_usd is None else own_usd
            )
    homes: dict[tuple[str, str], Home] = {}
    watched: list[WatchedMachine] = []
    for upstream_name, models in hosted.items():
        upstream = upstreams[upstream_name]
        written = upstream.residency
        assert written is not None  # noqa: S101  (it hosts models)
        rule = MachineRule(
            memory_gb=written.memory_gb,
            max_models=written.max_models,
            keep_alive_s=math.inf if written.keep_alive_s is None else written.keep_alive_s,
            busy_at=written.busy_at,
        )
        machine = machines.of(upstream_name, rule, models)
        for name in models:
            homes[upstream_name, name] = Home(
                machine=machine, name=name, usd_per_hour=usd_per_hour[upstream_name, name]
            )
        if written.reads is not None:
            headers = {"accept": "application/json"}
            key = config.secrets.get(upstream_name)
            if key is not None:
                headers["authorization"] = f"Bearer {key}"
            reader = LoadedModels(
                written.reads,
                base_url=str(upstream.base_url),
                headers={**headers, **upstream.extra_headers},
                transport=HttptoolsTransport(max_connections=2),
            )
            watched.append(
                WatchedMachine(
                    name=upstream_name, machine=machine, reader=reader, poll_s=written.poll_s
                )
            )
    return homes, tuple(watched)
