"""Which decision log a command reads: that of a configuration, or what was collected of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def log_options(*, also: str = "") -> Callable[[_Command], _Command]:
    """Return what gives a command `--config` (as `file`) and `--from` (as `folder`).

    Parameters
    ----------
    also
        What the configuration says besides, in words for the help.
    """

    def decorate(command: _Command) -> _Command:
        command = click.option(
            "--from",
            "folder",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="Read what `steelyard collect` wrote there instead.",
        )(command)
        return click.option(
            "--config",
            "file",
            type=click.Path(path_type=Path),
            envvar="STEELYARD_CONFIG",
            help=f"Configuration file of the gateway; its data folder holds the log{also}.  "
            "[default: configs/gateway.yaml, but none with --from]",
        )(command)

    return decorate
