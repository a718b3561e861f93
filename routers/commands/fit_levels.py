"""`steelyard fit-levels`: rated answers → which model each level of a decision model goes to."""

import json
from pathlib import Path

import click

from routers.commands.base import FILE, FiniteRange, files, seed_option
from routers.files import replacing, shown


@click.command("fit-levels")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Rated answers with the levels of their requests: .jsonl, as `steelyard export` writes.",
)
@click.option("--policy", help="Only answers under this policy.")
@click.option("--levels", metavar="LEVEL[,LEVEL…]", help="The levels, from the easiest on.")
@click.option(
    "--usd-per-request",
    type=FiniteRange(min=0, min_open=True),
    help="The most that an answer may cost on average: the best table within it.",
)
@click.option(
    "--max-quality-loss",
    type=FiniteRange(0, 1),
    default=0.01,
    show_default=True,
    help="Without that: each level goes to the cheapest model within so much of its best one.",
)
@click.option(
    "--fewest-rows",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Rated answers that a model needs at a level to be considered there.",
)
@seed_option
@click.option("--out", type=FILE, help="YAML file for the table, as a policy has it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    *,
    data: list[Path],
    policy: str | None,
    levels: str | None,
    usd_per_request: float | None,
    max_quality_loss: float,
    fewest_rows: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Choose the model of each level: `by_level` of a policy's decision model.

    What it comes to is told on rows that the table was not chosen by. Models are rated where they
    served: have some requests served by others too (exploration, or another policy) before you
    trust a table that moves many of them.
    """
    from routers.training.fit_levels import (  # noqa: PLC0415  (help should be quick)
        fit_levels,
        read_level_rows,
        table_lines,
    )

    words = [] if levels is None else [each.strip() for each in levels.split(",")]
    if levels is not None and (not all(words) or len(set(words)) < len(words)):
        raise click.UsageError(f"--levels {levels!r} has an empty level, or one twice")
    rows = read_level_rows(data, levels=words, policy=policy)
    report = fit_levels(
        rows,
        usd_per_request=usd_per_request,
        max_quality_loss=max_quality_loss,
        fewest_rows=fewest_rows,
        seed=seed,
    )
    if out is not None:
        import yaml  # noqa: PLC0415

        with replacing(out) as partial:
            partial.write_text(yaml.safe_dump({"by_level": report.by_level}, sort_keys=False))
    told = {
        "by_level": report.by_level,
        "rows": report.n_rows,
        "held_out": {"quality": report.held_out_quality, "usd": report.held_out_usd},
        "logged": {"quality": report.logged_quality, "usd": report.logged_usd},
        "best_single": None
        if report.best_single is None
        else dict(zip(("model", "quality", "usd"), report.best_single, strict=True)),
    }
    if as_json:
        click.echo(json.dumps(told))
        return
    table = table_lines(report.choices)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        cells = (shown(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    for name, quality, usd in (
        ("this table, on rows it was not chosen by", report.held_out_quality, report.held_out_usd),
        ("as it was served", report.logged_quality, report.logged_usd),
        *(
            [(f"{shown(report.best_single[0])} alone", *report.best_single[1:])]
            if report.best_single
            else []
        ),
    ):
        if quality is not None and usd is not None:
            click.echo(f"{name}: quality {quality:.3f} at {usd:.6f} USD an answer")
