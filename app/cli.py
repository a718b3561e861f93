"""The `steelyard` command; what trains lives in `routers.commands`. Errors: one line, exit 2."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from app import __version__
from app.commands.check import check_config
from app.commands.collect import collect
from app.commands.config_option import config_option
from app.commands.export import export
from app.commands.keys import keys
from app.commands.reference import config_reference
from app.commands.spend import spend
from app.commands.terminal import flush_output, prepare_output
from app.commands.top import top
from app.errors import GatewayError
from routers import commands
from routers.commands._options import encoder, overwrite

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
            return command
        return super().get_command(ctx, cmd_name)


def _training_commands() -> tuple[str, ...]:
    modules = pkgutil.iter_modules(commands.__path__)
    return tuple(
        module.name.replace("_", "-") for module in modules if not module.name.startswith("_")
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="steelyard")
def cli() -> None:
    """Send every chat request to the model that is worth its price."""


cli.add_command(check_config)
cli.add_command(config_reference)
cli.add_command(keys)
cli.add_command(collect)
cli.add_command(export)
cli.add_command(spend)
cli.add_command(top)


@cli.command()
@config_option("Configuration file.")
@click.option("--host", default=None, help="Listen here instead of where the file says.")
@click.option("--port", type=click.IntRange(0, 65_535), default=None, help="Likewise.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
def serve(file: Path, host: str | None, port: int | None, workers: int) -> None:
    """Run the gateway (and its simulated upstream, if the configuration has one)."""
    from app.processes.serve import serve as run  # noqa: PLC0415

    run(file, host=host, port=port, workers=workers)


@cli.command()
@click.argument("prompt")
@click.option(
    "--cost-quality",
    "cost_quality",
    default=None,
    help="The knob: 0 to 1, economy, balanced or quality; default: the policy's.",
)
@click.option("--policy", default=None, help="Default: the configuration's default policy.")
@config_option("Configuration file.")
@click.option(
    "--max-cost", type=click.FloatRange(min=0), default=None, help="Hard limit in US dollars."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer of /v1/route instead.")
def explain(
    prompt: str,
    *,
    cost_quality: str | None,
    policy: str | None,
    file: Path,
    max_cost: float | None,
    as_json: bool,
) -> None:
    """Show what every candidate is predicted to do with PROMPT, and which one wins."""
    from app.commands.explain import explain as run  # noqa: PLC0415

    run(
        prompt,
        file=file,
        cost_quality=cost_quality,
        policy=policy,
        max_cost_usd=max_cost,
        as_json=as_json,
    )


@cli.command()
@click.argument("model")
@config_option("Configuration file that says where MODEL is served and what it costs.")
@click.option(
    "--artifact",
    type=click.Path(path_type=Path),
    help="Folder of the trained router; the shipped one without it.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the new artifact."
)
@click.option(
    "--anchors",
    "anchors_file",
    type=click.Path(path_type=Path),
    help="Your own prompts with checkable answers (.jsonl); ours without it.",
)
@click.option("--n-anchors", type=click.IntRange(10, 1000), default=100, show_default=True)
@click.option("--name", help="How the artifact is to call it; default: its predicted_as.")
@click.option(
    "--max-cost", type=click.FloatRange(min=0), help="Refuse where it may cost more US dollars."
)
@click.option(
    "--max-output-tokens", type=click.IntRange(16, 131_072), default=1024, show_default=True
)
@click.option(
    "--limit-field",
    type=click.Choice(["max_tokens", "max_completion_tokens"]),
    default="max_tokens",
    show_default=True,
    help="What the endpoint calls the limit of an answer.",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MODEL",
    help="Ask this model, which the router was trained on, too: tells how hard the anchors are.",
)
@click.option("--yes", is_flag=True, help="Agree to the cost beforehand.")
@encoder
@overwrite
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def onboard(
    model: str,
    *,
    file: Path,
    artifact: Path | None,
    out: Path,
    anchors_file: Path | None,
    n_anchors: int,
    name: str | None,
    max_cost: float | None,
    max_output_tokens: int,
    limit_field: str,
    concurrency: int,
    peers: tuple[str, ...],
    yes: bool,
    encoders: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Ask MODEL some anchors and write an artifact that predicts it, without training again."""
    from app.commands.onboard import onboard as run  # noqa: PLC0415

    run(
        model,
        file=file,
        artifact_path=artifact,
        out=out,
        anchors_file=anchors_file,
        n_anchors=n_anchors,
        name=name,
        max_cost_usd=max_cost,
        max_output_tokens=max_output_tokens,
        limit_field=limit_field,
        concurrency=concurrency,
        peers=peers,
        yes=yes,
        encoders=encoders,
        overwrite=overwrite,
        as_json=as_json,
    )


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
