"""`steelyard onboard`: a model that the router was not trained on."""

from pathlib import Path

import click

from app.commands.config_option import config_option
from routers.commands.base import FiniteRange, encoder, overwrite


@click.command()
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
    "--max-cost", type=FiniteRange(min=0), help="Refuse where it may cost more US dollars."
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
@click.option("--description", help="What is written of MODEL, where the router reads that.")
@click.option(
    "--edges",
    type=click.Path(path_type=Path),
    help="Outcomes of MODEL that are at hand (as for `fit --data`).",
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
    description: str | None,
    edges: Path | None,
    yes: bool,
    encoders: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Ask MODEL some anchors and write an artifact that predicts it, without training again.

    With --description or --edges nobody is asked.
    """
    if description is not None or edges is not None:
        from app.commands.onboarding_recorded import onboard_recorded  # noqa: PLC0415

        onboard_recorded(
            model,
            file=file,
            artifact_path=artifact,
            out=out,
            name=name,
            description=description,
            edges_file=edges,
            encoders=encoders,
            overwrite=overwrite,
            as_json=as_json,
        )
        return
    from app.commands.onboarding import onboard as run  # noqa: PLC0415

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
