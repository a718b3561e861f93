"""The console command behind `app.outcomes.collector`."""

import json
import os
import signal
import socket
import threading
from pathlib import Path

import click

from app.commands.config_option import config_option


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the Parquet files."
)
@config_option("Configuration file of the gateways (outcomes.sink: redis).")
@click.option(
    "--consumer",
    default=socket.gethostname,
    help="Name of this collector among others; default: the host's.",
)
@click.option("--once", is_flag=True, help="Write what is there, then end.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON at the end.")
def collect(*, out: Path, file: Path, consumer: str, once: bool, as_json: bool) -> None:
    """Move the decision log from Redis to Parquet files, a partition per day."""
    import pyarrow as pa  # noqa: F401, PLC0415  (before anything is taken out of Redis)
    import redis  # noqa: PLC0415

    from app.config import load_config  # noqa: PLC0415
    from app.errors import ConfigError, GatewayError  # noqa: PLC0415
    from app.outcomes.collector import Collector  # noqa: PLC0415
    from app.outcomes.redis import Names  # noqa: PLC0415
    from app.telemetry.logs import configure_logging  # noqa: PLC0415

    config = load_config(file, secrets_needed=False)
    gateway = config.gateway
    if gateway.outcomes.sink != "redis":
        raise ConfigError(f"{file}: outcomes.sink is {gateway.outcomes.sink}; collect reads redis")
    if config.redis_url is None:
        raise ConfigError(f"{gateway.store.redis_url_env} is not set; export Redis' address")
    os.umask(0o077)
    configure_logging(level=gateway.server.log_level, secrets=config.hidden)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    client = redis.Redis.from_url(config.redis_url, socket_timeout=30, protocol=2)
    collector = Collector(
        client=client,
        names=Names(gateway.store.prefix),
        out=out,
        consumer=consumer,
        keep_days=gateway.outcomes.keep_days,
    )
    try:
        collector.open()
        if once:
            collector.catch_up()
        else:
            collector.run(stopped=stop.is_set)
    except redis.RedisError as error:
        raise GatewayError(f"Redis cannot be asked: {error}") from error
    finally:
        client.close()
    summary = {"out": str(out), "rows": collector.n_rows, "unreadable": collector.n_unreadable}
    click.echo(json.dumps(summary) if as_json else f"{out}: {collector.n_rows} rows")
