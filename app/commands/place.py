"""`steelyard place`: which models machines of one's own should keep loaded."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from routers.commands.base import FILE

if TYPE_CHECKING:
    from app.commands.placement import PlacedModel, Proposal


@click.command()
@click.option("--log", type=FILE, required=True, help="What `export` wrote, as .jsonl.")
@click.option(
    "--pools",
    type=FILE,
    required=True,
    help="The gateway's configuration: its upstreams with `residency`, its models with `load_s`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole proposal as JSON.")
def place(*, log: Path, pools: Path, as_json: bool) -> None:
    """Propose which models machines that load on demand should keep, from a decision log.

    The most load seconds are saved that memory allows, by how often each model is asked for after
    another one; what is not kept can still be loaded. The log is then replayed, with and without.
    """
    from app.commands.placement import propose, read_log, read_pools  # noqa: PLC0415
    from app.config import load_config  # noqa: PLC0415

    config = load_config(pools, secrets_needed=False)
    proposal = propose(read_pools(config), read_log(log))
    if as_json:
        click.echo(json.dumps(asdict(proposal), allow_nan=False))
    else:
        _print(proposal)


def _print(proposal: "Proposal") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name in ("model", "keep on"):
        table.add_column(name, no_wrap=True)
    for name in ("GB", "requests", "loads it saves", "seconds", "still loads, s", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in proposal.models:
        table.add_row(
            each.model_id,
            each.pool or "-",
            f"{each.memory_gb:g}",
            f"{each.n_requests:,}",
            f"{each.n_loads:,}",
            f"{each.would_save_s:,.0f}",
            f"{each.load_s:,.0f}",
            f"{each.usd:,.2f}",
            style="" if each.pool else "dim",
        )
    Console(width=120, highlight=False).print(table)
    for each in proposal.models:
        if each.pool is None:
            click.echo(f"\n{_why_not(each)}", nl=False)
    click.echo(f"\n\n{_outcome(proposal)}")


def _why_not(each: "PlacedModel") -> str:
    if not each.n_requests:
        return f"{each.model_id} is not kept: nobody asked for it."
    told = (
        f"{each.model_id} is not kept: that would save up to {each.would_save_s:,.0f} s of "
        f"loading; as it is, it loads for {each.load_s:,.0f} s"
    )
    if each.usd:
        told += f", ${each.usd:,.2f} of its machine"
    if each.lacks_gb is None:
        return f"{told}."
    return f"{told}. With {each.lacks_gb:g} GB more it could stay, too."


def _outcome(proposal: "Proposal") -> str:
    today_s, proposed_s = proposal.today_s, proposal.proposed_s
    told = (
        f"{proposal.days:.1f} days replayed: {today_s:,.0f} s of loading where the least recently "
        f"used leaves, {proposed_s:,.0f} s with these kept"
    )
    if proposed_s < today_s:
        return f"{told} ({100 * (1 - proposed_s / today_s):.0f} % less)."
    return f"{told}: keep nothing in particular."
