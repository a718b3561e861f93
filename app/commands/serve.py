"""`steelyard serve`: the gateway, in as many processes as are asked for."""

import gc
from pathlib import Path

import click

from app.commands.config_option import config_option


@click.command()
@config_option("Configuration file.")
@click.option("--host", default=None, help="Listen here instead of where the file says.")
@click.option("--port", type=click.IntRange(0, 65_535), default=None, help="Likewise.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
def serve(file: Path, host: str | None, port: int | None, workers: int) -> None:
    """Run the gateway (and its simulated upstream, if the configuration has one)."""
    gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of the start
    from app.processes.serve import serve as run  # noqa: PLC0415

    gc.enable()
    run(file, host=host, port=port, workers=workers)
