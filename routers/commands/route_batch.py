"""`steelyard route-batch`: decide every prompt of a file, or all of them for one budget."""

import json
from pathlib import Path

import click

from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.commands._capacities import capacities
from routers.commands.base import (
    FILE,
    FiniteRange,
    encoder,
    files,
    knob_positions,
    not_over,
    progress,
    todays_prices,
)
from routers.errors import DataError
from routers.files import shown


def _positions(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> list[float]:
    return [] if value is None else knob_positions(context, parameter, value)


@click.command("route-batch")
@click.option("--artifact", type=FILE, help="Folder that `fit` wrote.")
@click.option(
    "--data",
    "--in",
    "data",
    type=FILE,
    required=True,
    help="Prompts: .parquet with query_id and prompt, .csv or .jsonl with prompt or messages; with "
    "--budget or --capacity .jsonl, also of OpenAI's requests for batches.",
)
@click.option(
    "--budget",
    type=FiniteRange(min=0),
    help="US dollars for all requests together: the best that they buy, instead of a knob.",
)
@click.option(
    "--capacity",
    metavar="MODEL=REQUESTS",
    multiple=True,
    callback=capacities,
    help="How many requests a model may answer; again for each model.",
)
@click.option(
    "--cautious",
    is_flag=True,
    help="With --budget: hold it against a cautious estimate of each request.",
)
@click.option(
    "--config",
    type=FILE,
    help="With --budget or --capacity: a gateway's configuration instead of an artifact.",
)
@click.option("--policy", help="With --config: the policy; default: its default policy.")
@click.option(
    "--cost-quality",
    metavar="T[,T…]",
    callback=_positions,
    help="Knob positions from 0 (cheapest) to 1 (best).",
)
@click.option(
    "--out",
    type=FILE,
    required=True,
    help="Parquet file to write; for a plan .jsonl; for a submission a folder.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "routerarena"]),
    default="parquet",
    show_default=True,
    help="routerarena: its submission files, of its router_data.json at one position.",
)
@click.option("--name", help="With routerarena: the router's name there.")
@click.option(
    "--train",
    metavar="FILE[,FILE…]",
    callback=files,
    help="With routerarena: the files of the training, to state that no prompt is among them.",
)
@todays_prices
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    *,
    artifact: Path | None,
    data: Path,
    budget: float | None,
    capacity: dict[str, int],
    cautious: bool,
    config: Path | None,
    policy: str | None,
    cost_quality: list[float],
    out: Path,
    kind: str,
    name: str | None,
    train: list[Path],
    prices: Path | None,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Decide every prompt of a file at every knob position, or all for one budget."""
    not_over(out, data)
    if budget is not None or capacity:
        if cost_quality or kind != "parquet":
            raise click.UsageError("a budget or capacities take the place of --cost-quality")
        if (artifact is None) == (config is None):
            raise click.UsageError("say what predicts: either --artifact or --config")
        if out.suffix.lower() in (".parquet", ".csv"):
            raise click.UsageError(f"--out {out}: a plan is written as .jsonl")
        from routers.commands._route_batch_plan import plan  # noqa: PLC0415

        plan(
            data,
            out,
            artifact=artifact,
            config=config,
            policy=policy,
            budget=budget,
            capacity=capacity,
            cautious=cautious,
            prices=prices,
            encoders=encoders,
            as_json=as_json,
        )
        return
    if config is not None or policy is not None or cautious:
        raise click.UsageError("--config, --policy and --cautious go with --budget or --capacity")
    _by_knob(
        _said(artifact, cost_quality),
        data,
        out,
        cost_quality=cost_quality,
        kind=kind,
        name=name,
        train=train,
        prices=prices,
        encoders=encoders,
        as_json=as_json,
    )


def _said(artifact: Path | None, cost_quality: list[float]) -> Path:
    if artifact is None:
        raise click.UsageError("Missing option '--artifact'.")
    if not cost_quality:
        raise click.UsageError("Missing option '--cost-quality' (or --budget, or --capacity).")
    return artifact


def _by_knob(
    artifact: Path,
    data: Path,
    out: Path,
    *,
    cost_quality: list[float],
    kind: str,
    name: str | None,
    train: list[Path],
    prices: Path | None,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    from routers.evaluation.batch import route_batch  # noqa: PLC0415

    if kind == "routerarena":
        _submit(
            load_artifact(artifact, trusted=encoders),
            data,
            out,
            name=name,
            cost_quality=cost_quality,
            train=train,
            prices=prices,
            as_json=as_json,
        )
        return
    if out.is_dir():
        raise DataError(f"{out}: is a folder, give a file name")
    router = load_artifact(artifact, trusted=encoders)
    progress(f"routing {data.name} with {artifact} (version {router.version})")
    report = route_batch(router, data, out, cost_quality=cost_quality, prices_file=prices)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "out": str(out),
                    "artifact_version": router.version,
                    "n_queries": report.n_queries,
                    "n_rows": report.n_rows,
                    "shares": report.shares,
                }
            )
        )
    else:
        click.echo(f"wrote {out}: {report.n_rows} decisions on {report.n_queries} queries")
        for position, shares in report.shares.items():
            ranked = sorted(shares.items(), key=lambda each: -each[1])
            click.echo(f"  knob {position}: " + ", ".join(f"{shown(m)} {s:.0%}" for m, s in ranked))


def _submit(
    router: RouterArtifact,
    data: Path,
    out: Path,
    *,
    name: str | None,
    cost_quality: list[float],
    train: list[Path],
    prices: Path | None,
    as_json: bool,
) -> None:
    from routers.evaluation.batch import prices_of  # noqa: PLC0415
    from routers.evaluation.submission import write_submission  # noqa: PLC0415

    if name is None or len(cost_quality) != 1:
        raise click.UsageError("a submission needs --name, and one position of the knob")
    found = write_submission(
        router,
        data,
        out,
        name=name,
        cost_quality=cost_quality[0],
        train=train,
        prices=prices_of(router, prices),
    )
    if as_json:
        told = {"files": [str(path) for path in found.files], "n_queries": found.n_prompts}
        click.echo(json.dumps(told))
        return
    for path in found.files:
        click.echo(f"wrote {path}")
    click.echo(found.statement)
