"""Models that do not chat: where they may stand in a configuration, and where not."""

from app.config.loaded import LoadedConfig
from app.config.named_models import conversed_with
from routers.models import CHAT

_SERVED_BY = ("openai", "azure")
"""Kinds of upstreams that have the endpoints of such models."""


def check_kinds(config: LoadedConfig) -> None:
    """Refuse a model that does not chat where one has to, or where nobody can be asked for it.

    Raises
    ------
    ConfigError
        With its place in the file.
    """
    others = {name: spec.kind for name, spec in config.specs.items() if spec.kind != CHAT}
    if not others:
        return
    for place, name in conversed_with(config.gateway):
        if name in others:
            raise config.error(
                place,
                f"{name!r} is a model of kind {others[name]}, to which no conversation can go; "
                "it is asked by its name alone",
            )
    for name, kind in others.items():
        model = config.gateway.models[name]
        for position, each in enumerate(model.places):
            upstream = config.gateway.upstreams[each.upstream]
            if upstream.kind not in _SERVED_BY:
                where = ("upstream",) if model.deployments is None else ("deployments", position)
                raise config.error(
                    ("models", name, *where),
                    f"an upstream of kind {upstream.kind} cannot be asked for {kind}; those of "
                    f"kind {' and '.join(_SERVED_BY)} can",
                )
