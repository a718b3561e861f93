"""What several serving processes count together."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.api.ops import metrics_refusal
from app.config import LoadedConfig
from app.config.settings import METRICS_DIR_VARIABLE
from app.errors import ConfigError
from app.telemetry.exposition import MetricsServer, render


@contextlib.contextmanager
def counting_together() -> Iterator[Path]:
    """Give the workers a fresh folder to count in; they must find it when they start."""
    with tempfile.TemporaryDirectory(prefix="steelyard-metrics-") as folder:
        os.environ[METRICS_DIR_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[METRICS_DIR_VARIABLE]


def metrics_port(
    config: LoadedConfig, folder: Path, *, host: str
) -> contextlib.AbstractContextManager[object]:
    """Serve `/metrics` of all workers on a port of its own, where one is configured.

    Parameters
    ----------
    host
        The address that the gateway listens on.

    Raises
    ------
    ConfigError
        If it is taken.
    """
    server = config.gateway.server
    if server.metrics_port is None:
        return contextlib.nullcontext()
    try:
        return MetricsServer(
            host,
            server.metrics_port,
            render=partial(render, CollectorRegistry(), workers_dir=folder),
            refusal=metrics_refusal(config, host=host),
        )
    except OSError as error:
        raise ConfigError(
            f"cannot serve metrics on {host}:{server.metrics_port} ({error.strerror}); "
            "choose another server.metrics_port"
        ) from error
