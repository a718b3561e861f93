"""`--plugin MODULE`, which every command has: kinds of routers that do not come with Steelyard."""

import os
from collections.abc import Mapping

import click

from routers.plugins import PLUGINS_VARIABLE, load_plugins, plugin_names


def _import(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> None:
    """Import what is named here or in the environment, and name it to processes started later."""
    names = plugin_names(",".join([os.environ.get(PLUGINS_VARIABLE, ""), *values]))
    if names:
        os.environ[PLUGINS_VARIABLE] = ",".join(dict.fromkeys(load_plugins(names)))


def plugin_option() -> click.Option:
    """Return the option; what it names is imported before anything else is looked at."""
    return click.Option(
        ["--plugin"],
        metavar="MODULE",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_import,
        help="Import this module or file (.py) first: it registers routers of your own.",
    )


def with_plugins(command: click.Command) -> click.Command:
    """Return a command that has the option, or whose commands have it."""
    if isinstance(command, click.Group):
        commands: Mapping[str, click.Command] = command.commands
        for each in commands.values():
            with_plugins(each)
    elif not any("--plugin" in each.opts for each in command.params):
        command.params.append(plugin_option())
    return command
