"""`steelyard map`: who answers which category, under another budget."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from routers.artifact.files import check_free
from routers.commands._mapping import mapping_lines
from routers.commands.base import FILE, encoder, overwrite

_CATALOGUE = Path("configs/models.yaml")
_LIMITS = ("parameters_b", "active_parameters_b", "usd_per_request")


def _pairs(_: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, str]:
    """Split `name=value,name=value`."""
    found: dict[str, str] = {}
    for part in [] if value is None else value.split(","):
        name, equals, told = (each.strip() for each in part.partition("="))
        if not (name and equals and told) or name in found:
            raise click.BadParameter(
                f"{part.strip()!r} is no NAME=VALUE, or {name!r} stands there twice",
                param=parameter,
            )
        found[name] = told
    return found


@click.command("map")
@click.option("--artifact", type=FILE, required=True, help="Folder that `fit` wrote.")
@click.option(
    "--budget",
    metavar="LIMIT=NUMBER[,…]",
    help="parameters_b (all experts together), active_parameters_b or usd_per_request (mean over "
    "requests); `none` for none.",
)
@click.option(
    "--experts",
    metavar="CATEGORY=MODEL[,…]",
    callback=_pairs,
    help="The mapping by hand; `other` is the generalist.",
)
@click.option(
    "--catalogue",
    type=FILE,
    help=f"Says how large models are (parameters_b); {_CATALOGUE} where that is there.",
)
@click.option("--prices", type=FILE, help="Today's prices; those of the training without it.")
@click.option("--out", type=FILE, help="Folder to write to; without it the mapping is shown only.")
@overwrite
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the mapping as JSON.")
def command(
    *,
    artifact: Path,
    budget: str | None,
    experts: dict[str, str],
    catalogue: Path | None,
    prices: Path | None,
    out: Path | None,
    overwrite: bool,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show which model answers which category, or map anew: nothing is fitted again.

    A specialist has to beat the generalist on the rows of its category by more than the artifact's
    z standard errors, or to save what the budget limits; else the generalist keeps the category.
    """
    from routers.strategies.composition import Budget  # noqa: PLC0415  (help should be quick)
    from routers.training.remap import remap  # noqa: PLC0415

    if budget is not None and experts:
        raise click.UsageError("give either --budget or --experts")
    if out is not None and not overwrite:
        check_free(out)
    if catalogue is None and _CATALOGUE.is_file():
        catalogue = _CATALOGUE
    limits = None if budget is None else Budget(**_limits(budget))
    report = remap(
        artifact,
        out,
        experts=experts or None,
        budget=limits,
        catalogue=catalogue,
        prices_file=prices,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trusted=encoders,
    )
    if as_json:
        told = {"categories": report.categories, "totals": report.totals}
        click.echo(json.dumps({**told, "out": out and str(out), "version": report.version}))
        return
    for line in mapping_lines(report.categories):
        click.echo(line)
    click.echo(", ".join(f"{name} {value:.6g}" for name, value in report.totals.items()))
    if out is not None:
        click.echo(f"wrote {out} (version {report.version})")
    elif limits is not None or experts:
        click.echo("nothing was written; --out says where to")


def _limits(budget: str) -> dict[str, float]:
    if budget.strip() == "none":
        return {}
    context = click.get_current_context()
    option = next(each for each in context.command.params if each.name == "budget")
    found = {}
    for name, told in _pairs(context, option, budget).items():
        if name not in _LIMITS:
            raise click.BadParameter(
                f"{name!r} is no limit; known: {', '.join(_LIMITS)}, or none", param=option
            )
        try:
            number = float(told)
        except ValueError:
            raise click.BadParameter(f"{name}={told!r} is not a number", param=option) from None
        if not 0 < number < float("inf"):
            raise click.BadParameter(f"{name}={told} is not above 0", param=option)
        found[name] = number
    return found
