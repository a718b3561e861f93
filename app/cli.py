"""The `steelyard` command; what trains lives in `routers.commands`. Errors: one line, exit 2."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from app import __version__
from app.commands.check import check_config
from app.commands.collect import collect
from app.commands.explain import explain
from app.commands.export import export
from app.commands.keys import keys
from app.commands.onboard import onboard
from app.commands.place import place
from app.commands.plugin_option import plugin_option, with_plugins
from app.commands.reference import config_reference
from app.commands.replay import replay
from app.commands.serve import serve
from app.commands.spend import spend
from app.commands.terminal import flush_output, prepare_output
from app.commands.top import top
from app.commands.watch import watch
from app.errors import GatewayError
from routers import commands
from routers.commands.base import GATEWAY_ESTIMATES

_EXTRAS = {
    "pyarrow": "train",
    "sklearn": "train",
    "scipy": "train",
    "torch": "sentence-transformers",
    "sentence_transformers": "sentence-transformers",
    "opentelemetry": "otel",
}
"""Packages that a plain installation lacks, and the extra that brings each."""


class _Commands(click.Group):
    """Add the commands of `routers.commands`, each imported only when it is called or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *_training_commands()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name in _training_commands():
            module = importlib.import_module(f"routers.commands.{cmd_name.replace('-', '_')}")
            command: click.Command = module.command
            return with_plugins(command)
        return super().get_command(ctx, cmd_name)


def _training_commands() -> tuple[str, ...]:
    modules = pkgutil.iter_modules(commands.__path__)
    return tuple(
        module.name.replace("_", "-")
        for module in modules
        if module.name != "base" and not module.name.startswith("_")
    )


def _gateway_estimates(*arguments: Any) -> Any:
    from app.commands.batch_estimates import estimates  # noqa: PLC0415  (it loads a gateway)

    return estimates(*arguments)


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "obj": {GATEWAY_ESTIMATES: _gateway_estimates},
    },
)
@click.version_option(__version__, prog_name="steelyard")
def cli() -> None:
    """Send every chat request to the model that is worth its price."""


cli.params.append(plugin_option())
cli.add_command(with_plugins(check_config))
cli.add_command(with_plugins(collect))
cli.add_command(with_plugins(config_reference))
cli.add_command(with_plugins(explain))
cli.add_command(with_plugins(export))
cli.add_command(with_plugins(keys))
cli.add_command(with_plugins(onboard))
cli.add_command(with_plugins(place))
cli.add_command(with_plugins(replay))
cli.add_command(with_plugins(serve))
cli.add_command(with_plugins(spend))
cli.add_command(with_plugins(top))
cli.add_command(with_plugins(watch))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit code 2."""
    # One request is decided by one thread: more of them would only wait for each other, and make
    # a decision of half a millisecond one of twenty on a busy machine. Read when numpy loads.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from routers.errors import RoutingError  # noqa: PLC0415

    prepare_output()
    try:
        cli.main(args=arguments, standalone_mode=False)
        flush_output()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        sys.exit(130)
    except (GatewayError, RoutingError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        _fail(
            f"this needs {package}, which is not installed; the extra {_EXTRAS[package]!r} brings "
            f"it: pip install 'steelyard[{_EXTRAS[package]}]'"
        )
    except OSError as error:
        # A full disk, a file that cannot be reached: no fault of ours that a traceback would show.
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")


def _fail(message: str) -> None:
    click.echo(f"steelyard: {' '.join(message.split())}", err=True)
    sys.exit(2)
