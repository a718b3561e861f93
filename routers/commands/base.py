"""Option types and helpers that commands share."""

import math
from pathlib import Path
from typing import Any

import click

from routers.commands._ticker import Ticker

_TICKER = "routers.commands.ticker"

GATEWAY_ESTIMATES = "routers.commands.gateway_estimates"
"""In the context's `obj`: what predicts requests by a gateway's configuration. Whoever has one puts
it there; there is none where the commands stand alone."""

FILE = click.Path(path_type=Path)
SEED = click.IntRange(0, 2**32 - 1)

encoder = click.option(
    "--encoder",
    "encoders",
    metavar="NAME|FOLDER",
    multiple=True,
    help="Trust this encoder, which may run code, where the artifact names exactly that.",
)
overwrite = click.option(
    "--overwrite", "--force", is_flag=True, help="Replace the artifact that is in the folder."
)

todays_prices = click.option(
    "--prices", type=FILE, help="Today's prices; those of the training without it."
)
seed_option = click.option("--seed", type=SEED, default=0, show_default=True)
draws_option = click.option(
    "--draws",
    type=click.IntRange(100, 10_000),
    default=1000,
    show_default=True,
    help="Resamplings behind the intervals.",
)


def files(_: click.Context, __: click.Parameter, value: str | None) -> list[Path]:
    """Split file names at commas."""
    if value is None:
        return []
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty file name")
    return [Path(name) for name in names]


def not_over(out: Path | None, *read: Path) -> None:
    """Refuse to write over a file that is read.

    Raises
    ------
    click.UsageError
    """
    for each in read:
        if out is not None and out.exists() and each.exists() and out.samefile(each):
            raise click.UsageError(f"--out {out} is the file that is read; give another name")


class FiniteRange(click.FloatRange):
    """A number within limits. Click's own type lets NaN through, which is never beyond a limit."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Percent(click.ParamType[float]):
    """A share from 0 up to 1, exclusive, written as `1%` or `0.01`."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the share."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not 0 <= share < 1:
            self.fail(f"{value!r} is no share below 100%; write 1% or 0.01", param, ctx)
        return share + 0.0  # no negative zero


def knob_positions(_: click.Context, __: click.Parameter, value: str) -> list[float]:
    """Parse and check knob positions."""
    positions = []
    for part in value.split(","):
        try:
            t = float(part)
        except ValueError:
            raise click.BadParameter(f"{part.strip()!r} is not a number") from None
        if math.isnan(t) or not 0 <= t <= 1:
            raise click.BadParameter(f"{part.strip()} is not within 0 and 1")
        positions.append(t + 0.0)  # no negative zero
    return positions


def progress(line: str) -> None:
    """Tell on standard error what is being done, and that it still is where it takes long."""
    click.echo(line, err=True)
    context = click.get_current_context(silent=True)
    if context is None:
        return
    root = context.find_root()
    before: Ticker | None = root.meta.get(_TICKER)
    if before is None:
        root.call_on_close(lambda: root.meta[_TICKER].stop())  # noqa: PLW0108  (the last one)
    else:
        before.stop()
    root.meta[_TICKER] = Ticker(line, say=lambda again: click.echo(again, err=True))
