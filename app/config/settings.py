"""What the environment may set: where the configuration is and which key variables exist."""

import ipaddress
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Read by the metrics library, too, before the first instrument is made."""
RUN_VARIABLE = "STEELYARD_RUN"


class Settings(BaseSettings):
    """Environment of the service; everything else stands in the configuration file."""

    model_config = SettingsConfigDict(env_prefix="STEELYARD_", extra="ignore")

    config: Path = Path("configs/gateway.yaml")
    """`STEELYARD_CONFIG`: the configuration file to serve."""

    metrics_dir: Path | None = Field(default=None, validation_alias=METRICS_DIR_VARIABLE)
    """Where several worker processes count together; `steelyard serve --workers` sets it."""

    plugins: str = ""
    """`STEELYARD_PLUGINS`: modules, or files, that register routers of your own, separated by
    commas; imported before anything else. `steelyard --plugin` adds to it."""

    run: str | None = None
    """`STEELYARD_RUN`: what begins the names of all processes of one `steelyard serve`, which sets
    it."""

    listen_host: str | None = None
    """`STEELYARD_LISTEN_HOST`: the address that is listened on, where it is not the one of the
    configuration; for servers that find the application by `app.main:from_env`."""


def is_loopback(host: str) -> bool:
    """Return whether an address or name can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host == "localhost"
