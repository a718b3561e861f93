"""The configuration file as an option of the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEFAULT_FILE = Path("configs/gateway.yaml")


def config_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--config`, told as `file`; `text` says what it is read for."""
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        default=DEFAULT_FILE,
        show_default=True,
        envvar="STEELYARD_CONFIG",
        help=text,
    )
